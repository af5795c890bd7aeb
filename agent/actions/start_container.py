"""Starts a container that agent.toml lists and that has ended, and waits until it is well."""

import docker

from agent.action import Hand, not_now
from agent.actions import containers
from agent.actions.containers import Seen
from agent.check import Medic
from fleetmedic.v1.action_pb2 import RISK_LOW, Action, Operation, Plan, StartContainer, StopContainer

RISK = RISK_LOW
CURES = ("DOCKER-EXPECTED-MISSING", "DOCKER-EXIT-CLASS")
SETTLE = 10.0


def plan(asked: StartContainer, medic: Medic) -> Plan:
    seen = containers.named(asked.container, medic)
    if seen.state == "running":
        return containers.nothing(seen, f"{seen.name} {containers.told(seen)}: there is nothing to start")
    if seen.state not in ("created", "exited"):
        raise not_now(f"{seen.name} {containers.told(seen)}: only one that has ended is started")
    made = containers.draft(seen, "start")
    made.steps.extend(("start it", f"wait up to {containers.patience(seen):.0f} s until it is well"))
    made.undo = "fleetmedic mitigate undo OPERATION stops it again"
    made.equal_commands.append(f"{seen.docker} start {seen.name}")
    if seen.state == "exited":
        made.warnings.append("how it ended is told by DOCKER-EXIT-CLASS and its log; what made it end may do so again")
    return made


def apply(planned: Plan, hand: Hand, medic: Medic) -> str:
    def start(client: docker.APIClient, seen: Seen) -> None:
        client.start(seen.id)

    return containers.until_well(containers.act(planned, hand, medic, start), hand, "started")


def happened(planned: Plan, medic: Medic) -> str:
    return containers.happened(planned, medic)


def undo(operation: Operation) -> Action:
    plan = operation.plan
    return Action(stop_container=StopContainer(container=plan.subject.name, id=containers.bound_id(plan)))
