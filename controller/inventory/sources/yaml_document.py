"""One YAML document as plain values with the line of every key, within bounds that a hostile text can't pass.

It is built from the parser's events: nesting and aliases are counted before anything is made of them, and there is no
second pass over nodes.
"""

import json
import re
from collections.abc import Callable
from typing import NoReturn

from yaml import AliasEvent, Event, MappingStartEvent, ScalarEvent, SequenceStartEvent
from yaml._yaml import CParser
from yaml.constructor import SafeConstructor
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import DocumentEndEvent, MappingEndEvent, SequenceEndEvent, StreamEndEvent
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from controller.inventory.names import shown
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources.table import Table
from controller.inventory.variables import ENCRYPTED, MAX_NUMBER, Unsafe, too_long

MAX_NESTING = 100
MAX_ALIASED = 10_000
"""Values that aliases may stand for, all together."""

_TAG = "tag:yaml.org,2002:"
_AS_TEXT = frozenset({"!", _TAG + "str", _TAG + "merge", _TAG + "value"})
_TYPED = frozenset(_TAG + kind for kind in ("null", "bool", "int", "float", "timestamp"))
_SURROGATES = re.compile(r"(?i)(?<!\\)((?:\\\\)*)(\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})")
# In JSON they stand within strings alone; YAML refuses them, or takes them for the end of a line.
_CONTROLS = re.compile(r"[\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_RESOLVERS = Resolver.yaml_implicit_resolvers
_CONSTRUCTOR = SafeConstructor()


def parse(text: str, file: str) -> tuple[object, int]:
    """The document's value and the line it begins on; None for an empty one. Mappings are Tables.

    A text that is JSON has JSON's types, as Ansible reads it: 1e3 is a number there, and a text in YAML.

    Raises InventoryError for what is not YAML, is more than one document, or is past the bounds.
    """
    is_json = text.lstrip()[:1] in ("{", "[") and _is_json(text)
    try:
        return _Composer(_joined(text) if is_json else text, file, is_json=is_json).document()
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        what = " ".join(filter(None, [error.context, error.problem]))
        raise InventoryError.at(Origin(file, line), f"not YAML: {what}", "correct the line") from None
    except YAMLError as error:
        what = " ".join(str(error).split())
        raise InventoryError.at(Origin(file, 1), f"not YAML: {what}", "correct the file") from None


class _Composer:
    """Turns the events of one document into values."""

    def __init__(self, text: str, file: str, *, is_json: bool) -> None:
        self._next: Callable[[], Event | None] = CParser(text).get_event
        self._file = file
        self._is_json = is_json
        self._anchors: dict[str, tuple[object, int]] = {}
        self._values = 0
        self._aliased = 0

    def document(self) -> tuple[object, int]:
        self._next()  # the stream begins
        start = self._next()
        if start is None or isinstance(start, StreamEndEvent):
            return None, 1
        event = self._next()
        assert event is not None
        line = _line(event)
        value = self._value(event, 1)
        while not isinstance(event, StreamEndEvent):
            event = self._next()
            assert event is not None
            if not isinstance(event, DocumentEndEvent | StreamEndEvent):
                raise self._error(event, "a second document begins", "keep one document in the file")
        return value, line

    def _value(self, event: Event, depth: int) -> object:
        self._values += 1
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if depth > MAX_NESTING:
            raise self._error(event, f"nested deeper than {MAX_NESTING}", "write it flatter")
        before = self._values
        value: object
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, MappingStartEvent):
            value = self._table(event, depth + 1)
        else:
            assert isinstance(event, SequenceStartEvent)
            value = self._sequence(event, depth + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._values - before + 1)
        return value

    def _alias(self, event: AliasEvent) -> object:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            raise self._error(event, f"alias {shown(event.anchor)} has no anchor before it", "define it above")
        value, size = known
        self._values += size
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            raise self._error(event, f"aliases stand for more than {MAX_ALIASED:,} values", "write fewer aliases")
        return value

    def _sequence(self, start: SequenceStartEvent, depth: int) -> list[object]:
        self._check_tag(start, _TAG + "seq")
        items: list[object] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            assert event is not None
            items.append(self._value(event, depth))
        return [_unsafe(item) for item in items] if start.tag == "!unsafe" else items

    def _table(self, start: MappingStartEvent, depth: int) -> Table:
        self._check_tag(start, _TAG + "map")
        table, merged = Table(), Table()
        lines = table.lines
        while not isinstance(event := self._next(), MappingEndEvent):
            assert event is not None
            line = _line(event)
            is_merge = isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0]
            key = self._value(event, depth)
            content = self._next()
            assert content is not None
            value = self._value(content, depth)
            if is_merge:
                self._merge(merged, value, content, line)
                continue
            if isinstance(key, list | dict):
                raise self._error(event, "a list or mapping is used as a key", "use a text as the key")
            if key in lines:
                what = f"key {shown(key)} is here a second time (first in line {lines[key]})"
                raise self._error(event, what, "keep one of them")
            table[key] = _unsafe(value) if start.tag == "!unsafe" else value
            lines[key] = line
        return _over(merged, table) if merged else table

    def _merge(self, merged: Table, value: object, event: Event, line: int) -> None:
        """Take what `<<` names; of several mappings the earlier one wins."""
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, Table):
                raise self._error(event, "'<<' merges something that is no mapping", "merge an anchored mapping")
            for key, item in part.items():
                if key not in merged:
                    merged[key] = item
                    merged.lines[key] = line

    def _scalar(self, event: ScalarEvent) -> object:
        text: str = event.value
        tag: str | None = event.tag
        if tag is None:
            return self._plain(text, event) if event.implicit[0] else text
        if tag in _AS_TEXT:
            return text
        if tag == "!unsafe":
            return Unsafe(text)
        if tag in ("!vault", "!vault-encrypted"):
            return ENCRYPTED
        if tag in _TYPED:
            return self._typed(tag, text, event)
        raise self._unknown_tag(event, tag)

    def _plain(self, text: str, event: ScalarEvent) -> object:
        """An unquoted text, typed by YAML 1.1's rules, or by JSON's."""
        if self._is_json:
            return self._json_value(text, event)
        candidates = _RESOLVERS.get(text[:1])
        if candidates is None:
            return text
        if text.isdigit() and text.isascii() and len(text) < 19 and (text[0] != "0" or text == "0"):
            return int(text)
        for tag, pattern in candidates:
            if pattern.match(text):
                return text if tag in _AS_TEXT else self._typed(tag, text, event)
        return text

    def _json_value(self, text: str, event: ScalarEvent) -> object:
        if len(text) > MAX_NUMBER:
            raise too_long(Origin(self._file, _line(event)))
        if not text:
            raise self._error(event, "a key of more than 1,024 characters", "shorten it")
        return json.loads(text)

    def _typed(self, tag: str, text: str, event: ScalarEvent) -> object:
        if len(text) > MAX_NUMBER:
            raise too_long(Origin(self._file, _line(event)))
        try:
            return SafeConstructor.yaml_constructors[tag](_CONSTRUCTOR, ScalarNode(tag, text))
        except (ValueError, OverflowError, KeyError, IndexError, AttributeError):
            kind = tag.removeprefix(_TAG)
            raise self._error(event, f"{shown(text)} is no valid {kind}", "correct it, or put it in quotes") from None

    def _check_tag(self, event: MappingStartEvent | SequenceStartEvent, usual: str) -> None:
        if event.tag is not None and event.tag not in (usual, "!", "!unsafe"):
            raise self._unknown_tag(event, event.tag)

    def _unknown_tag(self, event: Event, tag: str) -> InventoryError:
        return self._error(event, f"the tag {shown(tag)} is unknown", "leave it out")

    def _error(self, event: Event, what: str, mend: str) -> InventoryError:
        return InventoryError.at(Origin(self._file, _line(event)), what, mend)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _joined(text: str) -> str:
    """The text without what JSON may hold and YAML may not: escaped halves of characters, and control characters."""
    text = _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return _SURROGATES.sub(lambda found: found[1] + json.loads(f'"{found[2]}"'), text)


def _unsafe(value: object) -> object:
    """The value with every text in it marked as no template."""
    if isinstance(value, str):
        return Unsafe(value)
    if isinstance(value, list):
        return [_unsafe(item) for item in value]
    if isinstance(value, Table):
        for key, item in value.items():
            value[key] = _unsafe(item)
    return value


def _over(merged: Table, own: Table) -> Table:
    merged.update(own)
    merged.lines.update(own.lines)
    return merged


def _line(event: Event) -> int:
    mark = event.start_mark
    assert mark is not None
    return mark.line + 1
