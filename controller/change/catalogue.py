"""The actions that can be asked for: what each is for, its usual risk, and the rules whose finding it cures."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Known:
    """What is said of an action before any host is asked; a plan may say a higher risk."""

    title: str
    risk: str
    cures: tuple[str, ...]
    example: str


ACTIONS: Mapping[str, Known] = MappingProxyType(
    {
        "terminate-session": Known(
            "Free whoever waits for locks in PostgreSQL, with the least harm.",
            "moderate",
            ("PG-LOCK-ROOT", "PG-LOCK-DDL-QUEUE", "PG-IDLE-TXN", "PG-LONG-TXN"),
            "db01 --service orders-db",
        ),
        "restart-container": Known(
            "Restart a container, and wait until it is well.",
            "moderate",
            ("DOCKER-UNHEALTHY",),
            "web --container orders-app",
        ),
        "start-container": Known(
            "Start a container that has ended, and wait until it is well.",
            "low",
            ("DOCKER-EXPECTED-MISSING", "DOCKER-EXIT-CLASS"),
            "web --container orders-app",
        ),
        "unpause-container": Known(
            "Let a paused container go on as it was.",
            "low",
            ("DOCKER-PAUSED",),
            "web --container orders-app",
        ),
        "flush-keys": Known(
            "Delete the keys of a cache that agent.toml lists, a few at a time.",
            "moderate",
            ("REDIS-MEM-NEAR-MAX", "REDIS-NOEVICTION-FULL"),
            "cache --service carts --keys 'cache:*'",
        ),
    }
)
