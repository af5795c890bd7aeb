"""What agent.toml lets anybody do to this host: nothing, unless it names it."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agent import named_targets
from agent.toml_reader import Table

# As fnmatch: what a container or a service may be called, with its wildcards.
PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]{1,128}")
ACTIONS = (
    "terminate-session",
    "relieve-pool",
    "restart-container",
    "start-container",
    "unpause-container",
    "flush-keys",
)
# A beginning of its own, and then what may differ: never all keys, nor those of whoever named theirs alike.
KEYS = re.compile(r"[A-Za-z0-9_.:/|{}-]{2}[A-Za-z0-9_.:/|{}*?-]{0,198}", re.ASCII)
LAST_DATABASE = 65535
APPROVAL = re.compile(r"[a-z]+(-[a-z]+)*(:[a-z]+)?")


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of a Redis service that may be deleted, as SCAN's MATCH has it."""

    service: str
    pattern: str
    database: int


@dataclass(frozen=True, slots=True)
class Permitted:
    """`containers` may be restarted, started and unpaused; `stateful` of them hold data, whatever their image is.

    `sessions` are services of PostgreSQL whose sessions may be ended; `keys` are of Redis; `approval` are actions that
    need a second person, as NAME or NAME:KIND of what they are done to.
    """

    containers: tuple[str, ...] = ()
    stateful: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    approval: tuple[str, ...] = ()
    keys: tuple[Keys, ...] = ()

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
    keys = tuple(map(_keys, table.tables("keys")))
    made = Permitted(containers, stateful, sessions, _approval(table), keys)
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


def _keys(table: Table) -> Keys:
    made = Keys(
        service=named_targets.service(table, "redis"),
        pattern=table.text_of("pattern"),
        database=table.integer("database", 0, 0, LAST_DATABASE),
    )
    table.end()
    if not KEYS.fullmatch(made.pattern):
        raise table.refuse("pattern", f"{made.pattern!r} must begin with two signs of its own, such as cache:*")
    return made
