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
# How long all requests of one user may be awaited together, in thread-seconds: at once, and more with each second. Who
# takes each call back before it hangs for long holds threads as well.
MOST_WAITING = 4.0
WAITING_A_SECOND = 2.0
# What is awaited for less is not counted.
LEAST_WAITING = 0.01
# Who takes an answer at this rate goes on, in bytes a second.
SLOWEST = 16 * 1024
# How many answers of one user may lie untaken: for longer than a look, and at all. gRPC keeps each of them, with all
# that is its call's.
MOST_UNTAKEN = 16
MOST_UNTAKEN_AT_ONCE = 64
# Whether a caller still waits; raises where it may call no more.
Waiting = Callable[[grpc.ServicerContext], bool]


# Compared by identity: two waits of one call are two.
@dataclass(eq=False, slots=True)
class Wait:
    context: grpc.ServicerContext
    since: float
    patience: float
    user: str = ""
    # A unary answer, which no thread waits for.
    untaken: bool = False


@dataclass(slots=True)
class Spent:
    """How long a user's requests were awaited lately, in thread-seconds, as of a moment."""

    seconds: float
    at: float

    def add(self, more: float, now: float) -> None:
        self.seconds = max(0.0, self.seconds - (now - self.at) * WAITING_A_SECOND) + more
        self.at = now


class Watch:
    """One thread for all calls, and none while no call waits for its caller."""

    def __init__(self, waiting: Waiting, patience: float = PATIENCE, look: float = LOOK) -> None:
        self._waiting = waiting
        self._patience = patience
        self._look = look
        self._lock = Lock()
        # By user; of streams nobody's.
        self._waits: dict[str, set[Wait]] = {}
        self._spent: dict[str, Spent] = {}
        self._looking = False

    @contextmanager
    def awaiting(self, context: grpc.ServicerContext, user: str) -> Iterator[None]:
        """While a request of the user's is awaited: the call is cancelled where that takes too long, or may not be."""
        wait = self._begin(Wait(context, time.monotonic(), self._patience, user))
        try:
            yield
        finally:
            self._end(wait)
            now = time.monotonic()
            if now - wait.since >= LEAST_WAITING:
                with self._lock:
                    self._spent.setdefault(user, Spent(0.0, now)).add(now - wait.since, now)

    @contextmanager
    def over(self, context: grpc.ServicerContext, size: int) -> Iterator[None]:
        """While a message of a stream, so many bytes long, is being taken."""
        wait = self._begin(Wait(context, time.monotonic(), self._patience + size / SLOWEST))
        try:
            yield
        finally:
            self._end(wait)

    def until_taken(self, context: grpc.ServicerContext, user: str, size: int) -> None:
        """From now on until a unary answer was taken, or the call has ended otherwise."""
        wait = Wait(context, time.monotonic(), self._patience + size / SLOWEST, user, untaken=True)
        self._begin(wait)
        if not context.add_callback(lambda: self._end(wait)):
            self._end(wait)

    def _begin(self, wait: Wait) -> Wait:
        with self._lock:
            self._waits.setdefault(wait.user, set()).add(wait)
            # No thread to be had: the next call tries again.
            with suppress(RuntimeError):
                if not self._looking:
                    Thread(target=self._go_on, name="hanging calls", daemon=True).start()
                    self._looking = True
        return wait

    def _end(self, wait: Wait) -> None:
        with self._lock:
            own = self._waits.get(wait.user, set())
            own.discard(wait)
            if not own:
                self._waits.pop(wait.user, None)

    def crowded(self, user: str) -> bool:
        """Whether as many of the user's calls hang as may, or did a moment ago."""
        now = time.monotonic()
        with self._lock:
            own = self._waits.get(user, set())
            untaken = sum(wait.untaken for wait in own)
            if untaken >= MOST_UNTAKEN_AT_ONCE or len(self._hanging(own, now, untaken=True)) >= MOST_UNTAKEN:
                return True
            return len(self._hanging(own, now, untaken=False)) >= MOST_AWAITED or self._owes(user, now)

    def _owes(self, user: str, now: float) -> bool:
        spent = self._spent.get(user)
        if spent is None:
            return False
        spent.add(0.0, now)
        if not spent.seconds:
            del self._spent[user]
        return spent.seconds >= MOST_WAITING

    def _hanging(self, own: set[Wait], now: float, *, untaken: bool) -> list[Wait]:
        """Those of one user's that hang for longer than a look, the oldest first."""
        hanging = [wait for wait in own if wait.untaken == untaken and now - wait.since >= self._look]
        return sorted(hanging, key=lambda wait: wait.since)

    def _beyond(self, now: float) -> set[Wait]:
        beyond: set[Wait] = set()
        for user, own in self._waits.items():
            if user:
                beyond.update(self._hanging(own, now, untaken=False)[MOST_AWAITED:])
                beyond.update(self._hanging(own, now, untaken=True)[MOST_UNTAKEN:])
        return beyond

    def _go_on(self) -> None:
        while True:
            time.sleep(self._look)
            with self._lock:
                waits = [wait for own in self._waits.values() for wait in own]
                if not waits:
                    self._looking = False
                    return
                now = time.monotonic()
                beyond = self._beyond(now)
            for wait in waits:
                if wait in beyond or (now - wait.since >= self._look and not self._may_go_on(wait, now)):
                    # One that ended meanwhile is not harmed.
                    wait.context.cancel()

    def _may_go_on(self, wait: Wait, now: float) -> bool:
        in_time = now - wait.since < wait.patience
        return in_time and boundary.contain(lambda: self._waiting(wait.context), _no_more)


def _no_more(error: Exception) -> bool:
    """Whoever is denied, and whoever it is not known of."""
    del error
    return False
