"""Calls a real worker over its socket, as the front does; the kernel says that we are its user."""

import socket
from pathlib import Path

from agent import frames
from fleetmedic.v1.agent_pb2 import AuditRequest, CheckRequest, SetFreezeRequest, Standing
from fleetmedic.v1.local_pb2 import Caller, LocalRequest, LocalResponse

ALICE = Caller(role="responder", user="alice", serial="1F")


def ask(run: Path, request: LocalRequest, caller: Caller = ALICE) -> list[LocalResponse]:
    """Give every answer to one request; `run` is the agent's run folder."""
    request.caller.CopyFrom(caller)
    made = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(run / "worker.sock"))
        frames.write(connection.fileno(), request)
        while (answer := frames.read(connection.fileno(), LocalResponse)) is not None:
            made.append(answer)
    return made


def standing(run: Path) -> Standing:
    """Say how the agent stands, by the first message of a small check."""
    return ask(run, LocalRequest(check=CheckRequest(include=["HOST-MEM"])))[0].check.standing


def freeze(run: Path, reason: str = "deploy", caller: Caller = ALICE, *, frozen: bool = True) -> LocalResponse:
    (answer,) = ask(run, LocalRequest(set_freeze=SetFreezeRequest(frozen=frozen, reason=reason)), caller)
    return answer


def records(run: Path, after: int = 0) -> list[bytes]:
    """Give the audit log's records as the worker streams them."""
    return [answer.audit.record for answer in ask(run, LocalRequest(audit=AuditRequest(after_sequence=after)))]
