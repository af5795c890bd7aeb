"""The JSON that an inventory script prints, and `ansible-inventory` too, as groups and hosts of the draft."""

from collections.abc import Callable, Mapping

from controller.inventory.draft import Draft
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources.ranges import checked
from controller.inventory.variables import ENCRYPTED, Unsafe

MAX_NESTING = 100
_KEYS = ("hosts", "vars", "children")


def take(answer: Mapping[str, object], file: str, draft: Draft, ask: Callable[[str], Mapping[str, object]]) -> None:
    """Add what was answered to --list; `ask` gives one host's variables where `_meta` does not have all of them."""
    reader = _Reader(file, draft)
    for name, body in answer.items():
        if name != "_meta":
            reader.group(name, body)
    known = reader.known(answer)
    for host in reader.hosts:
        variables = ask(host) if known is None else known.get(host, {})
        reader.variables(host, variables)


class _Reader:
    """Walks one answer into the draft; `hosts` are those it named."""

    def __init__(self, file: str, draft: Draft) -> None:
        self._origin = Origin(file, 0)
        self._draft = draft
        self.hosts: dict[str, None] = {}

    def group(self, name: str, body: object) -> None:
        draft, origin = self._draft, self._origin
        draft.group(name, origin)
        for key, content in self._parts(name, body).items():
            if key == "hosts":
                for host in self._names(name, key, content):
                    draft.host(checked(host, origin), name, None, origin)
                    self.hosts[host] = None
            elif key == "children":
                for child in self._names(name, key, content):
                    draft.group(child, origin)
                    draft.groups[name].children.setdefault(child, origin)
            elif key == "vars":
                for variable, value in self._mapping(content, f"vars of group {shown(name)}").items():
                    draft.group_variable(name, variable, plain(value, origin), origin)
            else:
                draft.names.warn(
                    f"{origin}: {key}", f"{origin}: group {shown(name)}: the key {shown(key)} is not known, and ignored"
                )

    def known(self, answer: Mapping[str, object]) -> Mapping[str, object] | None:
        """Variables of all hosts, where the answer has them."""
        meta = self._mapping(answer.get("_meta", {}), "_meta")
        return self._mapping(meta["hostvars"], "_meta.hostvars") if "hostvars" in meta else None

    def variables(self, host: str, content: object) -> None:
        origin = Origin(f"{self._origin.file}: {host}", 0)
        for name, value in self._mapping(content, f"the variables of host {shown(host)}").items():
            self._draft.host_variable(host, name, plain(value, origin), origin)

    def _parts(self, name: str, body: object) -> Mapping[str, object]:
        """A group's hosts, vars and children; a list alone is its hosts, and variables alone are a host's own."""
        if isinstance(body, list):
            return {"hosts": body}
        parts = self._mapping(body, f"group {shown(name)}")
        if parts and not any(key in parts for key in _KEYS):
            return {"hosts": [name], "vars": parts}
        return parts

    def _names(self, group: str, key: str, content: object) -> list[str]:
        if isinstance(content, list) and all(isinstance(item, str) for item in content):
            return content
        raise self._wrong(f"{key} of group {shown(group)} are no list of names", f'print "{key}": ["name", ...]')

    def _mapping(self, content: object, what: str) -> Mapping[str, object]:
        if isinstance(content, Mapping):
            return content
        raise self._wrong(f"{what} is no JSON object", 'print {"name": value}')

    def _wrong(self, what: str, mend: str) -> InventoryError:
        return InventoryError.at(self._origin, what, mend)


def plain(value: object, origin: Origin, depth: int = 1) -> object:
    """A JSON value as ours: what Ansible wraps as encrypted or as no template is unwrapped."""
    if depth > MAX_NESTING:
        raise InventoryError.at(origin, f"a value is nested deeper than {MAX_NESTING}", "print it flatter")
    if isinstance(value, list):
        return [plain(item, origin, depth + 1) for item in value]
    if isinstance(value, dict):
        if len(value) == 1:
            if "__ansible_vault" in value:
                return ENCRYPTED
            if isinstance(text := value.get("__ansible_unsafe"), str):
                return Unsafe(text)
        return {key: plain(item, origin, depth + 1) for key, item in value.items()}
    return value
