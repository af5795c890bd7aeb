"""Writes down what was asked when the answer is out: nobody who looks at a host waits for its disk."""

import os
import signal
import time
from contextlib import suppress

from agent.check import Medic
from agent.journal import audit, requests, sparing
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse

# These write their own records, but for what is refused.
RECORDED = frozenset({"set_denylist", "set_freeze", "noted"})
# A record that takes longer is given up, in seconds: a process is held for it.
LONGEST = 5


def after(medic: Medic, request: LocalRequest, last: LocalResponse | None) -> None:
    """Best effort, in the process that has answered; `last` is the last of the answer, None where there is none."""
    outcome = "asked" if last is None else requests.outcome(last)
    if request.WhichOneof("request") in RECORDED and outcome != "refused":
        return
    signal.alarm(LONGEST)
    said = requests.reason(last) if last is not None else ""
    record = sparing.spared(medic.config.run, requests.record(request, outcome, said), time.monotonic())
    with suppress(audit.AuditError):
        if record is not None:
            audit.append(medic.config.audit, medic.config.run, record, time.time())


def beside(medic: Medic, request: LocalRequest, last: LocalResponse | None) -> None:
    """The same in a process of its own, without our streams: whoever reads them waits for their end."""
    if os.fork():
        return
    try:
        os.setsid()
        for stream in (0, 1, 2):
            os.close(stream)
            os.open(os.devnull, os.O_RDWR)
        request.caller.user = requests.local_user()
        after(medic, request, last)
    finally:
        os._exit(0)
