"""Pauses a container that was unpaused, as it was before; only to undo."""

import docker

from agent.action import Hand, not_now
from agent.actions import containers
from agent.actions.containers import Seen
from agent.check import Medic
from fleetmedic.v1.action_pb2 import RISK_MODERATE, PauseContainer, Plan

ASKABLE = False
RISK = RISK_MODERATE
CURES = ()
SETTLE = 0.0


def plan(asked: PauseContainer, medic: Medic) -> Plan:
    seen = containers.named(asked.container, medic, asked.id)
    if seen.state == "paused":
        return containers.nothing(seen, f"{seen.name} is paused: there is nothing to do")
    if seen.state != "running":
        raise not_now(f"{seen.name} {containers.told(seen)}: only one that runs is paused")
    made = containers.draft(seen, "pause")
    made.steps.append("pause it")
    made.irreversible = f"it undoes an unpause: unpause-container {seen.name} is the way back"
    made.equal_commands.append(f"{seen.docker} pause {seen.name}")
    return made


def apply(planned: Plan, hand: Hand, medic: Medic) -> str:
    def pause(client: docker.APIClient, seen: Seen) -> None:
        client.pause(seen.id)

    return containers.until_state(containers.act(planned, hand, medic, pause), "paused", "paused")


def happened(planned: Plan, medic: Medic) -> str:
    return containers.happened(planned, medic)
