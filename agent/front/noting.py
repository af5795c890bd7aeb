"""Calls that the worker does not carry out, for its audit log: what the front does itself, and what it refuses."""

from contextlib import suppress
from threading import Condition, Thread
from time import sleep

from agent import boundary
from agent.front.alarms import Alarms
from agent.front.worker import Ask, WorkerAway
from fleetmedic.v1.agent_pb2 import Standing
from fleetmedic.v1.local_pb2 import Caller, LocalRequest, Noted

PATIENCE = 3.0
# A flood of refusals must not fill the disk: one record in so many seconds, with the count of the others.
PAUSE = 1.0
LONGEST_DETAIL = 500


class NotRecorded(Exception):
    """The audit log does not take a record; the message says why."""


class Notes:
    """`ask` brings a record to the worker."""

    def __init__(self, ask: Ask, alarms: Alarms, pause: float = PAUSE) -> None:
        self._ask = ask
        self._alarms = alarms
        self._pause = pause
        self._wake = Condition()
        self._first: tuple[Caller, Noted] | None = None
        self._more = 0
        self._writing = False

    def write(self, caller: Caller, method: str, outcome: str, detail: str = "") -> Standing:
        """Records, and says how the agent then stands. NotRecorded, which is an alarm too, until it can be again."""
        noted = Noted(method=method, outcome=outcome, detail=detail[:LONGEST_DETAIL])
        try:
            standing = self._written(caller, noted)
        except NotRecorded as error:
            self._alarms.set("audit", f"the audit log takes no record: {error}")
            raise
        self._alarms.set("audit", "")
        return standing

    def _written(self, caller: Caller, noted: Noted) -> Standing:
        try:
            for answer in self._ask(LocalRequest(caller=caller, noted=noted), PATIENCE, lambda: True):
                if answer.HasField("noted"):
                    return answer.noted.standing
                raise NotRecorded(answer.refusal.reason or "the worker does not know how")
        except WorkerAway as error:
            raise NotRecorded(str(error)) from error
        raise NotRecorded("the worker gave no answer")

    def refused(self, caller: Caller, method: str, reason: str) -> None:
        """Has a refusal recorded when there is time for it; the caller is not kept waiting, nor told when it fails."""
        with self._wake:
            if self._first is None:
                self._first = (caller, Noted(method=method, outcome="refused", detail=reason[:LONGEST_DETAIL]))
            else:
                self._more += 1
            # No thread to be had: then no record.
            with suppress(RuntimeError):
                if not self._writing:
                    Thread(target=self._write_refusals, name="refusals", daemon=True).start()
                    self._writing = True

    def _write_refusals(self) -> None:
        """Writes until there was nothing to write for a pause, then ends: an idle front has no thread for it."""
        while True:
            with self._wake:
                if self._first is None:
                    self._writing = False
                    return
                (caller, noted), more = self._first, self._more
                self._first, self._more = None, 0
            if more:
                noted.detail += f" (and {more} more refused meanwhile)"
            boundary.contain(lambda: self._written(caller, noted), _nothing)  # noqa: B023 - called at once
            sleep(self._pause)


def _nothing(error: Exception) -> Standing:
    del error
    return Standing()
