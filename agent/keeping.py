"""What the worker keeps for the agent: the denylist, a freeze, the audit log. Nothing changes before it is recorded."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from agent import folders, freezing, placing
from agent.check import Medic
from agent.journal import audit, requests, sparing
from agent.journal.sparing import Share
from agent.refusing import Refused
from agent.standing import standing
from fleetmedic.v1 import agent_pb2, policy_pb2
from fleetmedic.v1.agent_pb2 import (
    AuditRequest,
    AuditResponse,
    Freeze,
    SetDenylistRequest,
    SetDenylistResponse,
    SetFreezeRequest,
    SetFreezeResponse,
)
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_BUSY,
    REFUSAL_KIND_FAILED_PRECONDITION,
    REFUSAL_KIND_INVALID,
    REFUSAL_KIND_NOT_PERMITTED,
    Caller,
    LocalRequest,
    LocalResponse,
    Noted,
    NotedResponse,
)

if TYPE_CHECKING:
    from agent.denylist import Lists

SERVICE = agent_pb2.DESCRIPTOR.services_by_name["AgentService"]
# By the methods' own options, as the front has it: the worker does not take the front's word for who may do what.
POLICY: Mapping[str, policy_pb2.Policy] = MappingProxyType(
    {row.name: row.GetOptions().Extensions[policy_pb2.policy] for row in SERVICE.methods}
)
KINDS = frozenset({"set_denylist", "set_freeze", "audit", "noted"})
DENYLIST = "denylist.pem"
LOCK = "trust.lock"
# What the front carries out itself, and so may note; of any other method it may note a refusal.
BY_THE_FRONT = frozenset(name for name, row in POLICY.items() if row.changes) - {
    "Apply",
    "Approve",
    "SetDenylist",
    "SetFreeze",
}
LONGEST_NAME = 128
OUTCOMES = frozenset({"begun", "done", "failed"})


def answers(medic: Medic, request: LocalRequest) -> Iterator[LocalResponse]:
    """The answers to a request of KINDS. Refused where it is not carried out, before anything is changed."""
    if request.HasField("noted"):
        _note(medic, request.caller, request.noted)
        yield LocalResponse(noted=NotedResponse(standing=standing(medic.config)))
        return
    permit(medic, request)
    if request.HasField("audit"):
        yield from _audit(medic, request.audit)
    elif request.HasField("set_freeze"):
        _set_freeze(medic, request, request.set_freeze)
        yield LocalResponse(set_freeze=SetFreezeResponse(standing=standing(medic.config)))
    else:
        _set_denylist(medic, request, request.set_denylist)
        yield LocalResponse(set_denylist=SetDenylistResponse(standing=standing(medic.config)))


def permit(medic: Medic, request: LocalRequest) -> None:
    """Refused where the caller's role may not call the method, or the agent is frozen."""
    method, caller = requests.method(request), request.caller
    policy = POLICY[method]
    if not 0 < policy.least_role <= _role(caller.role):
        needed = policy_pb2.Role.Name(policy.least_role).removeprefix("ROLE_").lower()
        reason = f"{caller.user or 'the caller'} is {caller.role or 'of no role'}; {method} needs {needed}"
        raise Refused(REFUSAL_KIND_NOT_PERMITTED, reason)
    if policy.frozen and (freeze := freezing.read(medic.config.trust)) is not None:
        raise Refused(REFUSAL_KIND_FAILED_PRECONDITION, f"frozen by {freeze.user or 'nobody known'}: {freeze.reason}")


def _role(name: str) -> int:
    try:
        return policy_pb2.Role.Value(f"ROLE_{name.upper()}")
    except ValueError:
        return 0


def _audit(medic: Medic, request: AuditRequest) -> Iterator[LocalResponse]:
    try:
        for line in audit.lines(medic.config.audit, request.after_sequence):
            made = AuditResponse(sequence=line.sequence, hash=line.hash, record=line.record)
            yield LocalResponse(audit=made)
    except OSError as error:
        said = f"the audit log can't be read: {error.strerror or type(error).__name__}"
        raise Refused(REFUSAL_KIND_FAILED_PRECONDITION, said) from error


def _note(medic: Medic, caller: Caller, noted: Noted) -> None:
    record = requests.of_noted(caller, noted)
    if noted.outcome == "refused" and 0 < len(noted.method) <= LONGEST_NAME:
        _append(medic, record, Share.LOOKS)
    elif noted.outcome in OUTCOMES and noted.method in BY_THE_FRONT:
        _changing(medic, record)
    else:
        raise Refused(REFUSAL_KIND_INVALID, f"{noted.method} {noted.outcome}: not the front's to note")


def _changing(medic: Medic, record: audit.Record) -> None:
    """Of one user's changes so many are recorded as a person makes, and no more are made: all else stays in the log."""
    if not _append(medic, record, Share.CHANGES):
        reason = f"{record.user} changes too much: one {record.method} in {2 * sparing.PAUSE:.0f} s is recorded"
        raise Refused(REFUSAL_KIND_BUSY, reason)


def _append(medic: Medic, record: audit.Record, share: Share) -> bool:
    """Whether it was yet to be written. Refused where it can't be: no audit, no change."""

    def append(spared: audit.Record) -> None:
        audit.append(medic.config.audit, medic.config.run, spared, time.time())

    try:
        return sparing.write(medic.config.run, record, time.monotonic(), append, share)
    except audit.AuditError as error:
        raise Refused(REFUSAL_KIND_FAILED_PRECONDITION, f"the audit log can't be written: {error}") from error


def _recorded(medic: Medic, request: LocalRequest, detail: str, change: Callable[[], None]) -> None:
    """A change between two records. One that was made and can't be recorded any more stands, and is alarming."""
    _changing(medic, requests.record(request, "begun", detail))
    outcome = "failed"
    try:
        change()
        outcome = "done"
    except OSError as error:
        detail = f"{detail}: {error.strerror or type(error).__name__}"
        raise Refused(REFUSAL_KIND_FAILED_PRECONDITION, f"nothing is changed: {error.strerror}") from error
    finally:
        with suppress(Refused):
            _changing(medic, requests.record(request, outcome, detail))


@contextmanager
def _alone(medic: Medic) -> Iterator[None]:
    """One after the other: two callers' processes must not both find the older list."""
    descriptor = os.open(medic.config.run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _set_freeze(medic: Medic, request: LocalRequest, asked: SetFreezeRequest) -> None:
    try:
        reason = freezing.checked(asked.reason)
    except freezing.BadReason as error:
        raise Refused(REFUSAL_KIND_INVALID, str(error)) from error
    trust = medic.config.trust

    def change() -> None:
        folders.readable(trust)
        if not asked.frozen:
            freezing.end(trust)
            return
        freeze = Freeze(reason=reason, user=request.caller.user)
        freeze.since_time.GetCurrentTime()
        freezing.begin(trust, freeze)

    with _alone(medic):
        _recorded(medic, request, f"{'freeze' if asked.frozen else 'thaw'}: {reason}", change)


def _set_denylist(medic: Medic, request: LocalRequest, asked: SetDenylistRequest) -> None:
    # 50 ms of a certificate parser, for this request alone.
    from agent import denylist, operators

    tls = medic.config.tls
    if tls is None:
        raise Refused(REFUSAL_KIND_FAILED_PRECONDITION, "agent.toml has no [tls], and so no operators' authority")
    place = medic.config.trust / DENYLIST
    with _alone(medic):
        try:
            authorities = operators.authorities(tls.client_ca.read_bytes())
            offered = denylist.read(asked.signed_list, authorities)
            held = _held(place, lambda pem: denylist.read_kept(pem, authorities)[0])
            lists = denylist.merged(held, offered, authorities)
        except denylist.OlderList as error:
            raise Refused(REFUSAL_KIND_FAILED_PRECONDITION, f"the list {error}") from error
        except denylist.DenylistError as error:
            raise Refused(REFUSAL_KIND_INVALID, f"the list {error}") from error
        except (OSError, operators.AuthorityError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise Refused(REFUSAL_KIND_FAILED_PRECONDITION, f"tls.client_ca: {why}") from error

        def change() -> None:
            folders.readable(place.parent)
            placing.place(place, b"".join(found.pem for found in lists.values()), 0o644)

        said = f"denylist {offered.number}: {len(offered.denied)} certificates"
        _recorded(medic, request, said, change)


def _held(place: Path, read: Callable[[bytes], "Lists"]) -> "Lists":
    """The lists that are kept; none where nothing lies there, or no list: then a good one mends it."""
    try:
        return read(place.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
