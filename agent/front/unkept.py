"""A denylist that counts in the front alone: the worker, which keeps and records it, was away when it came."""

from contextlib import suppress
from threading import Lock, Thread
from time import sleep

from agent import boundary
from agent.denylist import Denylist
from agent.front import worker
from agent.front.alarms import Alarms
from agent.front.worker import Ask
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_INTERNAL, REFUSAL_KIND_INVALID, LocalRequest, LocalResponse, Refusal

# How soon the worker is told again, in seconds: twice as long each time, up to the longest.
PAUSE = 1.0
LONGEST_PAUSE = 30.0


class Unkept:
    """The last of them, with whoever brought it. `ask` brings a request to the worker."""

    def __init__(self, ask: Ask, alarms: Alarms, pause: float = PAUSE) -> None:
        self._ask = ask
        self._alarms = alarms
        self._pause = pause
        self._lock = Lock()
        self._last: tuple[Denylist, LocalRequest] | None = None
        self._trying = False

    def add(self, offered: Denylist, request: LocalRequest) -> None:
        """Has the worker told until it has taken it; that it has not yet is an alarm."""
        with self._lock:
            self._last = offered, request
            said = f"the denylist {offered.number} that {request.caller.user} brought counts, and is not recorded yet"
            self._alarms.set("unkept", said)
            # No thread to be had: then the next push brings it.
            with suppress(RuntimeError):
                if not self._trying:
                    Thread(target=self._go_on, name="unkept denylist", daemon=True).start()
                    self._trying = True

    def kept(self, taken: Denylist) -> None:
        """The worker has this one: with it all that it replaces."""
        with self._lock:
            if self._last and self._last[0].issuer == taken.issuer and self._last[0].number <= taken.number:
                self._last = None
                self._alarms.set("unkept", "")

    def _go_on(self) -> None:
        pause = self._pause
        while True:
            sleep(pause)
            with self._lock:
                if self._last is None:
                    self._trying = False
                    return
                offered, request = self._last
            answer = boundary.contain(lambda: worker.told(self._ask, request), _failed)  # noqa: B023 - called at once
            # What it says is no list of the authority any more will be none later.
            if not answer.HasField("refusal") or answer.refusal.kind == REFUSAL_KIND_INVALID:
                self.kept(offered)
            pause = min(2 * pause, LONGEST_PAUSE)


def _failed(error: Exception) -> LocalResponse:
    return LocalResponse(refusal=Refusal(kind=REFUSAL_KIND_INTERNAL, reason=str(error)))
