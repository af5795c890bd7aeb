"""Requests that come in as frames: from the front over the worker's socket, or over standard input."""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress

from agent import boundary, budgets, check, discovery, folders, keeping, redact
from agent.check import BadRequest, Medic, NothingHere
from agent.identity import clock
from agent.journal import requests
from agent.operating import asking
from agent.refusing import Refused
from agent.rule import seconds
from agent.standing import standing
from fleetmedic.v1.agent_pb2 import DescribeResponse, RuleTitle
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_INTERNAL,
    REFUSAL_KIND_INVALID,
    REFUSAL_KIND_NOT_FOUND,
    REFUSAL_KIND_NOT_PERMITTED,
    LocalRequest,
    LocalResponse,
    Refusal,
    RefusalKind,
)

# These last as long as their caller waits.
LONG = frozenset({"audit", "watch", "evidence"})
# Over standard input nothing else can be asked for.
LOOKING = frozenset({"check", "describe"})


def budget(request: LocalRequest) -> float:
    """How long the answer may take, in seconds."""
    kind = _kind(request)
    if kind in LONG:
        return budgets.LONGEST_CALL
    if kind in asking.KINDS:
        return budgets.OPERATION
    asked = seconds(request.check.budget)
    return min(asked, budgets.LONGEST_CALL) if asked > 0 else budgets.CHECK


def answer(
    medic: Medic, request: LocalRequest, received: float, caller: int | None = None, *, looking: bool = False
) -> Iterator[LocalResponse]:
    """The answers to one request; the last is a Refusal where it can't be carried out. `received`: epoch seconds.

    With `looking` whatever could change anything is refused.
    """
    answers = _looking(request) if looking and _kind(request) not in LOOKING else None
    answers = answers or _answers(medic, request, received, caller)
    while True:
        made = boundary.contain(lambda: next(answers, None), _failure)
        if made is None:
            return
        yield made
        if made.HasField("refusal"):
            return


def _failure(error: Exception) -> LocalResponse:
    if isinstance(error, BadRequest):
        return _refusal(REFUSAL_KIND_INVALID, str(error))
    if isinstance(error, NothingHere):
        return _refusal(REFUSAL_KIND_NOT_FOUND, str(error))
    if isinstance(error, Refused):
        return _refusal(error.kind, error.reason)
    return _refusal(REFUSAL_KIND_INTERNAL, f"the agent failed: {boundary.where(error)}")


def _refusal(kind: "RefusalKind.ValueType", reason: str) -> LocalResponse:
    return LocalResponse(refusal=Refusal(kind=kind, reason=reason))


def _answers(medic: Medic, request: LocalRequest, received: float, caller: int | None) -> Iterator[LocalResponse]:
    if request.HasField("check"):
        for message in check.check(medic, request.check, received, caller):
            yield LocalResponse(check=message)
    elif request.HasField("describe"):
        yield LocalResponse(describe=describe(medic, received))
    elif _kind(request) in keeping.KINDS:
        yield from keeping.answers(medic, request)
    elif _kind(request) in asking.KINDS:
        keeping.permit(medic, request)
        yield from asking.answers(medic, request, received)
    else:
        yield _refusal(REFUSAL_KIND_INVALID, "this agent does not know that request; is the caller newer?")


def _looking(request: LocalRequest) -> Iterator[LocalResponse]:
    asked = requests.method(request) or "what is asked for"
    yield _refusal(REFUSAL_KIND_NOT_PERMITTED, f"{asked}: over standard input an agent looks, and does nothing else")


def _kind(request: LocalRequest) -> str:
    return request.WhichOneof("request") or ""


def describe(medic: Medic, received: float) -> DescribeResponse:
    """Who is here, its rules, and what discovery finds."""
    found = discovery.run(medic.config, medic.locks)
    made = DescribeResponse(
        agent=medic.identity,
        role="observer",
        rules=[RuleTitle(id=rule.id, title=rule.title) for rule in medic.rules],
        targets=[redact.target(target) for target in found.targets],
        kernel=platform.release(),
        standing=standing(medic.config),
    )
    made.clock.CopyFrom(clock(received))
    return made


def prepare_folders(medic: Medic) -> None:
    """State and run folders, for this user alone. OSError where the run folder can't be made, or is another's."""
    system = os.geteuid() == 0 and bool(medic.config.front_user)
    # Without state the agent only forgets; a disk that is full or read-only must not keep it from looking.
    with suppress(FileNotFoundError, FileExistsError, PermissionError):
        if system:
            folders.readable(medic.config.state.parent)
        folders.own(medic.config.state)
    for folder in (medic.config.run, medic.locks):
        folders.own(folder)
    if system:
        medic.config.run.chmod(0o755)
