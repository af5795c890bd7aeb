"""The value of an INI text: a Python literal where it is one, and the text itself where it is not."""

import ast
import re
import warnings

from controller.inventory.origins import InventoryError, Origin
from controller.inventory.variables import Unsafe, check_numbers

# These can't be literals, or are the commonest ones; they spare the parser, which is a hundred times slower.
_WORD = re.compile(r"[A-Za-z_/~][A-Za-z0-9_.:/@~+-]*")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_ADDRESS = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+[0-9.]*")
_TOO_DEEP = "too many nested parentheses"
_CONSTANTS: dict[str, object] = {"True": True, "False": False, "None": None}


def value_of(text: str, origin: Origin) -> object:
    """The typed value: str, int, float, bool, None, or a list or dict of these; tuples and sets become lists."""
    if _NUMBER.fullmatch(text):
        return int(text)
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _ADDRESS.fullmatch(text) or _WORD.fullmatch(text):
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            literal = ast.literal_eval(text)
        check_numbers(literal, origin)
        return _plain(literal)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as why:
        # Ansible takes a list that is too deep for Python as a text, and says nothing.
        if isinstance(why, MemoryError | RecursionError) or _TOO_DEEP in str(why):
            raise InventoryError.at(origin, "a value is nested too deep", "write it flatter") from None
        return text


def _plain(literal: object) -> object:
    """The literal with lists for tuples and sets. Raises TypeError for what no inventory can hold."""
    if literal is None or isinstance(literal, str | bool | int | float):
        return literal
    if isinstance(literal, bytes):
        return Unsafe(literal.decode("utf-8", "backslashreplace"))
    if isinstance(literal, complex):
        return str(literal)
    if isinstance(literal, dict):
        return {_plain(key): _plain(value) for key, value in literal.items()}
    if isinstance(literal, set):
        return [_plain(item) for item in sorted(literal, key=repr)]
    if isinstance(literal, list | tuple):
        return [_plain(item) for item in literal]
    raise TypeError(literal)
