"""How many streams may be open at once: all callers together, and one of them alone."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

# They must not take the threads that Describe, health and the short calls need.
MOST_STREAMS = 8
# Of one user, whose stolen certificate must not keep others from looking.
MOST_OF_ONE = 3


class Full(Exception):
    """No stream more for now; the message says of whose there are too many."""


class Slots:
    def __init__(self) -> None:
        self._lock = Lock()
        self._open: Counter[str] = Counter()

    @contextmanager
    def held(self, user: str) -> Iterator[None]:
        """One of the user's, until the block ends. Full."""
        with self._lock:
            if self._open.total() >= MOST_STREAMS:
                raise Full(f"{MOST_STREAMS} checks are under way on this host already")
            if self._open[user] >= MOST_OF_ONE:
                raise Full(f"{MOST_OF_ONE} checks of {user} are under way on this host already")
            self._open[user] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[user] -= 1
                # Without those who have none.
                self._open = +self._open
