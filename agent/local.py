"""Requests that come in as frames: from the front over the worker's socket, or over standard input."""

import errno
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent import boundary, budgets, check, discovery, redact
from agent.check import BadRequest, Medic, NothingHere
from agent.identity import clock
from agent.rule import seconds
from fleetmedic.v1.agent_pb2 import DescribeResponse, RuleTitle
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_INTERNAL,
    REFUSAL_KIND_INVALID,
    REFUSAL_KIND_NOT_FOUND,
    LocalRequest,
    LocalResponse,
    Refusal,
    RefusalKind,
)


def budget(request: LocalRequest) -> float:
    """How long the answer may take, in seconds; 0 for none given."""
    asked = seconds(request.check.budget)
    return min(asked, budgets.LONGEST_CALL) if asked > 0 else budgets.CHECK


def answer(medic: Medic, request: LocalRequest, received: float, caller: int | None = None) -> Iterator[LocalResponse]:
    """The answers to one request; the last is a Refusal where it can't be carried out. `received`: epoch seconds."""
    answers = _answers(medic, request, received, caller)
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
    return _refusal(REFUSAL_KIND_INTERNAL, f"the agent failed: {boundary.where(error)}")


def _refusal(kind: "RefusalKind.ValueType", reason: str) -> LocalResponse:
    return LocalResponse(refusal=Refusal(kind=kind, reason=reason))


def _answers(medic: Medic, request: LocalRequest, received: float, caller: int | None) -> Iterator[LocalResponse]:
    if request.HasField("check"):
        for message in check.check(medic, request.check, received, caller):
            yield LocalResponse(check=message)
    elif request.HasField("describe"):
        yield LocalResponse(describe=describe(medic, received))
    else:
        yield _refusal(REFUSAL_KIND_INVALID, "this agent does not know that request; is the caller newer?")


def describe(medic: Medic, received: float) -> DescribeResponse:
    """Who is here, its rules, and what discovery finds."""
    found = discovery.run(medic.config, medic.locks)
    made = DescribeResponse(
        agent=medic.identity,
        role="observer",
        rules=[RuleTitle(id=rule.id, title=rule.title) for rule in medic.rules],
        targets=[redact.target(target) for target in found.targets],
        kernel=platform.release(),
    )
    made.clock.CopyFrom(clock(received))
    return made


def prepare_folders(medic: Medic) -> None:
    """State and run folders, for this user alone. OSError where the run folder can't be made, or is another's."""
    # Without state the agent only forgets; a disk that is full or read-only must not keep it from looking.
    with suppress(FileNotFoundError, FileExistsError, PermissionError):
        _own(medic.config.state)
    for folder in (medic.config.run, medic.locks):
        _own(folder)
    if os.geteuid() == 0 and medic.config.front_user:
        medic.config.run.chmod(0o755)


def _own(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.ENOSPC):
            raise
        return
    about = folder.lstat()
    if about.st_uid != os.geteuid() or about.st_mode & 0o022 or not stat.S_ISDIR(about.st_mode):
        raise OSError(errno.EPERM, "must be a folder of this user's that nobody else can write", str(folder))
