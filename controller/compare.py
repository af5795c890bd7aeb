"""What the hosts of one service should have alike: names the odd ones out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from controller.host_report import HostReport
from fleetmedic.v1.agent_pb2 import CheckResponse
from fleetmedic.v1.finding_pb2 import STATUS_WARN, Fact, Finding, Row, Subject, Table

# The kind of subject that only comparing has.
KIND = "fleet"
# Of one value, as it is told: an agent of ours writes a few dozen characters.
LONGEST = 120
MOST_ROWS = 20
MOST_HOSTS = 5
NEXT = (
    "what was deployed on these hosts, and not on the others? fleetmedic check {host} --include 'DEPLOY-*' --show all"
)

# Rule, fact: value to the facts of those who have it, each with its host.
Facts = dict[tuple[str, str], dict[str, list[tuple[str, Fact]]]]


def with_odd_ones_out(reports: Sequence[HostReport]) -> tuple[HostReport, ...]:
    """The same reports; those of hosts that differ from most have a warning more for each such fact.

    Where no value has more hosts than any other, every host that has the fact is told of it.
    """
    odd: dict[str, list[Finding]] = {}
    for values in _facts(reports).values():
        if len(values) > 1:
            for host, finding in _differing(values):
                odd.setdefault(host, []).append(finding)
    if not odd:
        return tuple(reports)
    return tuple(_with(report, odd[report.host]) if report.host in odd else report for report in reports)


def _facts(reports: Iterable[HostReport]) -> Facts:
    made: Facts = {}
    for report in reports:
        for fact in report.answer.facts:
            made.setdefault((fact.rule, fact.name), {}).setdefault(fact.value, []).append((report.host, fact))
    return made


def _differing(values: Mapping[str, list[tuple[str, Fact]]]) -> Iterator[tuple[str, Finding]]:
    ranked = sorted(values.items(), key=lambda item: (-len(item[1]), item[0]))
    (usual, most), (_, second) = ranked[:2]
    undecided = len(most) == len(second)
    for value, having in ranked:
        if value == usual and not undecided:
            continue
        for host, fact in having:
            there = f"{value[:LONGEST]}, as on {len(having)} of {sum(map(len, values.values()))}"
            rest = "and there is no usual one" if undecided else f"the usual one is {usual[:LONGEST]}"
            yield (
                host,
                Finding(
                    id=fact.rule,
                    status=STATUS_WARN,
                    subject=Subject(service=fact.service, kind=KIND, name=fact.name),
                    summary=f"{there}; {rest}",
                    table=_table(ranked),
                    next=NEXT,
                ),
            )


def _table(ranked: Sequence[tuple[str, list[tuple[str, Fact]]]]) -> Table:
    rows = [
        Row(cells=(value, str(len(having)), " ".join([host for host, _ in having][:MOST_HOSTS])))
        for value, having in ranked[:MOST_ROWS]
    ]
    return Table(columns=("value", "hosts", "such as"), rows=rows, omitted=max(0, len(ranked) - MOST_ROWS))


def _with(report: HostReport, findings: Iterable[Finding]) -> HostReport:
    answer = CheckResponse()
    answer.CopyFrom(report.answer)
    answer.findings.extend(findings)
    return replace(report, answer=answer)
