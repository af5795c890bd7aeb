"""A variable as it is used: rendered where it is a template, refused where it is encrypted.

Of Jinja only `{{ name }}`, `{{ a.b }}` and `{{ inventory_hostname }}` are known: what an address or a URL is put
together with. Everything else is refused by name.
"""

import re
from collections.abc import Mapping

from controller.inventory.graph import Host
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.variables import Encrypted, Unsafe, Variable

DEEPEST = 10
"""Variables that one may be rendered through."""
LONGEST = 64 * 1024
"""Characters that a value may be rendered to, so that doubling ones end."""
MOST = 10_000
"""Expressions that one variable may be rendered with, so that multiplying ones end."""

_MARK = re.compile(r"\{\{|\{%|\{#")
_EXPRESSION = re.compile(r"\{\{-?\s*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\s*-?\}\}")
_INNER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


def used(host: Host, name: str) -> Variable | None:
    """A host's variable with all templates in it rendered; None where it is not set.

    A text that is one expression alone has the type of what it names, as with Ansible. Raises InventoryError naming the
    variable where it is encrypted, and where a template is more than a name or goes on for ever.
    """
    variable = host.variables.get(name)
    if variable is None:
        return None
    value = variable.value
    if isinstance(value, int | float) or (isinstance(value, str) and "{" not in value):
        return variable
    made = _Rendering(host, name, variable.origin).value(value, ())
    return Variable(made, variable.origin, rendered=made != value)


class _Rendering:
    """One variable of one host, which every error names."""

    def __init__(self, host: Host, name: str, origin: Origin) -> None:
        self._host = host
        self._name = name
        self._origin = origin
        self._expressions = 0

    def value(self, value: object, through: tuple[str, ...]) -> object:
        """The value without templates; `through` are the variables on the way here."""
        if isinstance(value, Encrypted):
            raise self._wrong(
                f"{self._through(through)}an encrypted value is needed here",
                "write it plainly, or try --inventory-backend ansible where Ansible has the vault's password",
            )
        if isinstance(value, list):
            return [self.value(item, through) for item in value]
        if isinstance(value, Mapping):
            return {key: self.value(item, through) for key, item in value.items()}
        if not isinstance(value, str) or isinstance(value, Unsafe) or not _MARK.search(value):
            return value
        return self._text(value, through)

    def _text(self, text: str, through: tuple[str, ...]) -> object:
        alone = _EXPRESSION.fullmatch(text.strip())
        if alone is not None:
            return self._named(alone[1], through)
        made = _EXPRESSION.sub(lambda found: self._part(found[1], through), text)
        # What is left of the template itself, not of the values put in.
        left = _EXPRESSION.sub("", text)
        if _MARK.search(left):
            raise self._beyond(left, through)
        if len(made) > LONGEST:
            raise self._wrong(f"{self._through(through)}it is longer than {LONGEST:,} characters", "write it shorter")
        return made

    def _part(self, path: str, through: tuple[str, ...]) -> str:
        value = self._named(path, through)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            what = f"{self._through(through)}{path} is no text and no number, and stands within a text"
            raise self._wrong(what, "write a text or a number there")
        return str(value)

    def _named(self, path: str, through: tuple[str, ...]) -> object:
        self._expressions += 1
        if self._expressions > MOST:
            raise self._wrong(f"its template has more than {MOST:,} expressions", "write it more directly")
        name, *keys = path.split(".")
        if name == "inventory_hostname":
            value: object = self._host.name
        elif name in through or name == self._name:
            raise self._wrong(
                f"its template needs itself: {' > '.join((self._name, *through, name))}", "break the ring"
            )
        elif len(through) >= DEEPEST:
            raise self._wrong(f"its template goes through more than {DEEPEST} variables", "write it more directly")
        elif name in self._host.variables:
            value = self.value(self._host.variables[name].value, (*through, name))
        else:
            raise self._wrong(f"{self._through(through)}{shown(name)} is not set for {self._host.name}", self._unset())
        for key in keys:
            if not isinstance(value, Mapping) or key not in value:
                raise self._wrong(f"{self._through(through)}{shown(path)}: {shown(key)} is not there", "set it")
            value = value[key]
        return value

    def _unset(self) -> str:
        encrypted = self._host.encrypted
        return f"set it (it may be in {encrypted[0]}, which is encrypted)" if encrypted else "set it"

    def _beyond(self, text: str, through: tuple[str, ...]) -> InventoryError:
        inner = _INNER.search(text)
        what = "a filter" if inner is not None and "|" in inner[1] else "more than a name"
        return self._wrong(
            f"{self._through(through)}its template {shown(text.strip())} is {what}",
            "of Jinja only {{ name }} and {{ a.b }} are read here: write the value itself",
        )

    def _through(self, through: tuple[str, ...]) -> str:
        return f"by way of {' > '.join(through)}: " if through else ""

    def _wrong(self, what: str, mend: str) -> InventoryError:
        return InventoryError.at(self._origin, f"{self._name}: {what}", mend)
