"""How an agent stands, from what it says of itself, and what of that should be mended."""

from dataclasses import dataclass
from datetime import UTC, datetime

from controller.describing import Described
from controller.doctor.answering import skew
from controller.doctor.reaching import CLOCK_LIMIT
from controller.endings import State
from controller.trust.certificates import AGENT_LIFE
from fleetmedic.v1.agent_pb2 import DescribeResponse, Freeze


@dataclass(frozen=True, slots=True)
class Stands:
    """One host. `ends` is when the agent's own certificate does, `behind` ours less its denylist's number.

    Without an answer `cause` says why, and the rest says nothing. `troubles` are what should be mended, in few words.
    """

    host: str
    state: State
    cause: str
    version: str = ""
    skew: str = ""
    ends: datetime | None = None
    denylist: int = 0
    # Against ours: more than 0 where it lacks some, less where it has more; None where there is none of ours.
    behind: int | None = None
    freeze: Freeze | None = None
    alarms: tuple[str, ...] = ()
    worker: str = ""
    clock: float = 0.0
    troubles: tuple[str, ...] = ()


def stands(said: Described, ours: int | None, now: datetime) -> Stands:
    """`ours` is the number of the denylist in our own folder, where there is one."""
    answer = said.answer
    if answer is None:
        return Stands(said.host, said.state, said.cause)
    standing = answer.standing
    ends = ending(answer)
    behind = None if ours is None else ours - standing.denylist_sequence
    return Stands(
        said.host,
        said.state,
        "",
        answer.agent.version,
        skew(answer.agent.version),
        ends,
        standing.denylist_sequence,
        behind,
        standing.freeze if standing.HasField("freeze") else None,
        tuple(standing.alarms),
        answer.worker_error,
        said.clock_offset,
        tuple(_troubles(said, answer, ends, behind, now)),
    )


def ending(answer: DescribeResponse) -> datetime | None:
    """When the agent's certificate ends; None where it does not say, or says no date."""
    if not answer.standing.HasField("certificate_expire_time"):
        return None
    try:
        return answer.standing.certificate_expire_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        return None


def past_half(ends: datetime, now: datetime) -> bool:
    """Whether an agent's certificate has less than half of its life left."""
    return ends - now < AGENT_LIFE / 2


def _troubles(
    said: Described, answer: DescribeResponse, ends: datetime | None, behind: int | None, now: datetime
) -> list[str]:
    made = []
    if apart := skew(answer.agent.version):
        made.append(f"its version is {apart}")
    if ends is not None and past_half(ends, now):
        made.append("its certificate is past half its life")
    if behind:
        made.append("its denylist is old" if behind > 0 else "its denylist is newer than ours")
    if answer.standing.alarms:
        made.append("it has an alarm")
    if answer.worker_error:
        made.append("its worker is away")
    # In seconds: a hostile stamp is longer ago than a timedelta holds.
    if abs(said.clock_offset) > CLOCK_LIMIT.total_seconds():
        made.append("its clock is off")
    return made
