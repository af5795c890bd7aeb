"""Ends calls whose callers leave them hanging: no request comes, or no answer is taken. They hold threads meanwhile.

What gRPC does for such a call is wait, up to its deadline, in a thread of the few that there are.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock, Thread

import grpc

from agent import boundary

# How long a caller may take to send a request or to take an answer, in seconds.
PATIENCE = 5.0
# How often all that hang are looked at, in seconds: so soon the thread of somebody who was denied is free.
LOOK = 0.5
# How many requests of one user may be awaited for longer than a look: more are not, nor is a thread given to any.
MOST_AWAITED = 4
# Whether a caller still waits; raises where it may call no more.
Waiting = Callable[[grpc.ServicerContext], bool]


# Compared by identity: two waits of one call are two.
@dataclass(eq=False, slots=True)
class Wait:
    context: grpc.ServicerContext
    since: float
    user: str = ""


class Watch:
    """One thread for all calls, and none while no call waits for its caller."""

    def __init__(self, waiting: Waiting, patience: float = PATIENCE, look: float = LOOK) -> None:
        self._waiting = waiting
        self._patience = patience
        self._look = look
        self._lock = Lock()
        self._waits: set[Wait] = set()
        self._looking = False

    @contextmanager
    def over(self, context: grpc.ServicerContext, user: str = "") -> Iterator[None]:
        """While the call waits for its caller: it is cancelled where that takes too long, or may call no more.

        `user` is whose request is awaited.
        """
        wait = Wait(context, time.monotonic(), user)
        with self._lock:
            self._waits.add(wait)
            # No thread to be had: the next call tries again.
            with suppress(RuntimeError):
                if not self._looking:
                    Thread(target=self._go_on, name="hanging calls", daemon=True).start()
                    self._looking = True
        try:
            yield
        finally:
            with self._lock:
                self._waits.discard(wait)

    def crowded(self, user: str) -> bool:
        """Whether as many of the user's requests hang as may."""
        with self._lock:
            return len(self._awaited(user, time.monotonic())) >= MOST_AWAITED

    def _awaited(self, user: str, now: float) -> list[Wait]:
        hanging = [wait for wait in self._waits if user and wait.user == user and now - wait.since >= self._look]
        return sorted(hanging, key=lambda wait: wait.since)

    def _go_on(self) -> None:
        while True:
            time.sleep(self._look)
            with self._lock:
                waits = list(self._waits)
                if not waits:
                    self._looking = False
                    return
                now = time.monotonic()
                beyond = {wait for user in {w.user for w in waits} for wait in self._awaited(user, now)[MOST_AWAITED:]}
            for wait in waits:
                if wait in beyond or (now - wait.since >= self._look and not self._may_go_on(wait, now)):
                    # One that ended meanwhile is not harmed.
                    wait.context.cancel()

    def _may_go_on(self, wait: Wait, now: float) -> bool:
        in_time = now - wait.since < self._patience
        return in_time and boundary.contain(lambda: self._waiting(wait.context), _no_more)


def _no_more(error: Exception) -> bool:
    """Whoever is denied, and whoever it is not known of."""
    del error
    return False
