"""What the audit log says of a request: by whom, of which method, and in short what was asked."""

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from agent.journal.audit import Record
from fleetmedic.v1.agent_pb2 import CheckRequest
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_INTERNAL, Caller, LocalRequest, LocalResponse, Noted

METHODS: Mapping[str, str] = MappingProxyType(
    {
        "describe": "Describe",
        "check": "Check",
        "set_denylist": "SetDenylist",
        "set_freeze": "SetFreeze",
        "audit": "Audit",
        "plan": "Plan",
        "apply": "Apply",
        "watch": "Watch",
        "list_operations": "ListOperations",
        "approve": "Approve",
        "evidence": "Evidence",
    }
)


# What a caller may call its request, in answers and in the log.
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{0,64}", re.ASCII)


def method(request: LocalRequest) -> str:
    """The wire's name for it; "" for what this version does not know."""
    return METHODS.get(request.WhichOneof("request") or "", "")


def record(request: LocalRequest, outcome: str, detail: str = "") -> Record:
    detail = detail or (_asked(request.check) if request.HasField("check") else "")
    named = request.check.request_id if REQUEST_ID.fullmatch(request.check.request_id) else ""
    return _record(request.caller, method(request), outcome, detail, named)


def of_noted(caller: Caller, noted: Noted) -> Record:
    return replace(_record(caller, noted.method, noted.outcome, noted.detail), by="front")


def _record(caller: Caller, method: str, outcome: str, detail: str, request_id: str = "") -> Record:
    return Record(
        user=caller.user,
        role=caller.role,
        method=method,
        outcome=outcome,
        detail=detail,
        request_id=request_id,
        serial=caller.serial,
        break_glass=caller.break_glass,
    )


def _asked(check: CheckRequest) -> str:
    parts = (
        ("include", check.include),
        ("exclude", check.exclude),
        ("services", check.services),
        ("probes", check.probes),
        ("targets", [target.name for target in check.targets]),
    )
    return "; ".join(f"{name} {' '.join(values)}" for name, values in parts if values)


def outcome(answer: LocalResponse) -> str:
    """How a request stands after this answer of it; "asked" where more is to come."""
    if answer.HasField("refusal"):
        return "failed" if answer.refusal.kind == REFUSAL_KIND_INTERNAL else "refused"
    return "asked" if answer.HasField("check") and not answer.check.last else "done"


def reason(answer: LocalResponse) -> str:
    return answer.refusal.reason


def user(uid: int) -> str:
    """A local caller's name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def local_user() -> str:
    return user(os.geteuid())
