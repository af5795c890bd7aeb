"""Lets a paused container that agent.toml lists go on as it was."""

import docker

from agent.action import Hand
from agent.actions import containers
from agent.actions.containers import Seen
from agent.check import Medic
from fleetmedic.v1.action_pb2 import RISK_LOW, Action, Operation, PauseContainer, Plan, UnpauseContainer

RISK = RISK_LOW
CURES = ("DOCKER-PAUSED",)
SETTLE = 3.0


def plan(asked: UnpauseContainer, medic: Medic) -> Plan:
    seen = containers.named(asked.container, medic)
    if seen.state != "paused":
        return containers.nothing(seen, f"{seen.name} {containers.told(seen)}, not paused: there is nothing to do")
    made = containers.draft(seen, "unpause")
    made.steps.append("unpause it")
    made.undo = "fleetmedic mitigate undo OPERATION pauses it again"
    made.equal_commands.append(f"{seen.docker} unpause {seen.name}")
    made.warnings.append("somebody paused it, and may have had a reason: ask who")
    return made


def apply(planned: Plan, hand: Hand, medic: Medic) -> str:
    def unpause(client: docker.APIClient, seen: Seen) -> None:
        client.unpause(seen.id)

    return containers.until_state(containers.act(planned, hand, medic, unpause), "running", "unpaused")


def happened(planned: Plan, medic: Medic) -> str:
    return containers.happened(planned, medic)


def undo(operation: Operation) -> Action:
    plan = operation.plan
    return Action(pause_container=PauseContainer(container=plan.subject.name, id=containers.bound_id(plan)))
