"""Looks by the rules that a plan names, before it is applied and afterwards."""

from collections.abc import Mapping, Sequence

from controller import fleet
from controller.calling import MARGIN, Bounds
from controller.endings import ACHIEVED, State
from controller.inventory import connection, requests
from controller.inventory.graph import Host
from controller.transport.mtls import Identity
from fleetmedic.v1.agent_pb2 import SNAPSHOT_POLICY_NEVER, CheckRequest
from fleetmedic.v1.finding_pb2 import Finding

# What a host answered; None where it did not.
Looks = Mapping[str, Sequence[Finding] | None]


async def look(
    rules: Mapping[str, Sequence[str]], hosts: Mapping[str, Host], identity: Identity, bounds: Bounds
) -> Looks:
    """By host; `rules` are each host's own, and where it has none it is not asked."""
    asked = {
        connection.endpoint(hosts[name]): _request(hosts[name], wanted, bounds.for_one)
        for name, wanted in rules.items()
        if wanted
    }
    made: dict[str, Sequence[Finding] | None] = dict.fromkeys(rules)
    async for report in fleet.check(asked, identity, bounds):
        if report.late is None:
            whole = report.state in ACHIEVED or (report.state == State.FAILED and report.answer.last)
            made[report.host] = tuple(report.answer.findings) if whole else None
    return made


def _request(host: Host, rules: Sequence[str], seconds: float) -> bytes:
    made = CheckRequest(
        include=rules,
        snapshots=SNAPSHOT_POLICY_NEVER,
        targets=requests.targets(host),
        limits=requests.limits(host),
    )
    made.budget.FromMilliseconds(int(1000 * (seconds - MARGIN)))
    return made.SerializeToString()
