"""What one host gave: its answer, or why there is none."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from controller.endings import State
from fleetmedic.v1.agent_pb2 import CheckResponse, Standing
from fleetmedic.v1.finding_pb2 import STATUS_INFO, STATUS_OK, STATUS_SKIPPED, STATUS_WARN, Finding, Status

# What is not bad. All else is: crit, error, and what a newer agent says that this version does not know.
HARMLESS = frozenset({STATUS_OK, STATUS_INFO, STATUS_WARN, STATUS_SKIPPED})


@dataclass(frozen=True, slots=True)
class HostReport:
    """Exactly one for each selected host. `answer` is empty where none came; `seconds` since the fan-out began."""

    host: str
    state: State
    cause: str
    seconds: float
    answer: CheckResponse
    # The host's clock against ours, in seconds; None where it was not measured.
    clock_offset: float | None = None
    messages: int = 0
    # The agent found the request itself wrong; `cause` says how.
    refused: bool = False
    # Seconds by which a whole answer came after the host's own deadline; it is not used.
    late: float | None = None
    # Of each service the titles and addresses that the inventory has for people.
    links: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    # Which there are among its findings; counted once, for a fleet has tens of thousands.
    statuses: "frozenset[Status.ValueType]" = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "statuses", frozenset(finding.status for finding in self.answer.findings))

    @property
    def warns(self) -> bool:
        return STATUS_WARN in self.statuses


def judged(findings: Iterable[Finding]) -> State:
    """The state of a host that answered: a check that is crit, could not look, or is not understood, fails it."""
    return State.OK if {finding.status for finding in findings} <= HARMLESS else State.FAILED


def standings(reports: Iterable[HostReport]) -> Iterator[tuple[str, Standing]]:
    """How the agents stand that said so."""
    for report in reports:
        if report.answer.HasField("standing"):
            yield report.host, report.answer.standing
