"""What agent.toml lets anybody do to this host: nothing, unless it names it."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agent.toml_reader import Table

# As fnmatch: what a container or a service may be called, with its wildcards.
PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]{1,128}")
ACTIONS = ("terminate-session", "restart-container", "start-container", "unpause-container")
APPROVAL = re.compile(r"[a-z]+(-[a-z]+)*(:[a-z]+)?")


@dataclass(frozen=True, slots=True)
class Permitted:
    """`containers` may be restarted, started and unpaused; `stateful` of them hold data, whatever their image is.

    `sessions` are services of PostgreSQL whose sessions may be ended; `approval` are actions that need a second person,
    as NAME or NAME:KIND of what they are done to.
    """

    containers: tuple[str, ...] = ()
    stateful: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    approval: tuple[str, ...] = ()

    def container(self, name: str) -> bool:
        return _any(self.containers, name)

    def session(self, service: str) -> bool:
        return _any(self.sessions, service)

    def holds_data(self, container: str) -> bool:
        return _any(self.stateful, container)


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def read(table: Table) -> Permitted:
    """ConfigError."""
    containers, stateful, sessions = (_patterns(table, key) for key in ("containers", "stateful", "sessions"))
    made = Permitted(containers, stateful, sessions, _approval(table))
    table.end()
    return made


def _patterns(table: Table, key: str) -> tuple[str, ...]:
    found = table.texts(key)
    for pattern in found:
        if not PATTERN.fullmatch(pattern):
            raise table.refuse(key, f"{pattern!r} is no name or pattern: letters, digits, '.', '_', '-', and * ? []")
    return found


def _approval(table: Table) -> tuple[str, ...]:
    found = table.texts("approval")
    for name in found:
        if not APPROVAL.fullmatch(name) or name.partition(":")[0] not in ACTIONS:
            raise table.refuse("approval", f"{name!r} is no action: one of {', '.join(ACTIONS)}, or one with :KIND")
    return found
