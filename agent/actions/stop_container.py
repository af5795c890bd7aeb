"""Stops a container that was started, as it was before; only to undo."""

import docker

from agent.action import Hand, not_allowed, not_now
from agent.actions import containers
from agent.actions.containers import Seen
from agent.check import Medic
from fleetmedic.v1.action_pb2 import RISK_MODERATE, Plan, StopContainer

ASKABLE = False
RISK = RISK_MODERATE
CURES = ()
SETTLE = 0.0


def plan(asked: StopContainer, medic: Medic) -> Plan:
    seen = containers.named(asked.container, medic, asked.id)
    if seen.state in containers.ENDED:
        return containers.nothing(seen, f"{seen.name} {containers.told(seen)}: there is nothing to stop")
    if seen.state != "running":
        raise not_now(f"{seen.name} {containers.told(seen)}: only one that runs is stopped")
    if seen.passing:
        raise not_allowed(f"{seen.name} was made with --rm: its engine would remove it")
    if not 0 <= seen.stop_seconds <= containers.LONGEST_STOP:
        raise not_allowed(f"{seen.name} may take too long to stop (StopTimeout); by hand: docker stop {seen.name}")
    made = containers.draft(seen, "stop")
    made.steps.append(f"stop it, with {seen.stop_seconds} s before it is killed")
    made.irreversible = f"it undoes a start: start-container {seen.name} is the way back"
    made.equal_commands.append(f"{seen.docker} stop -t {seen.stop_seconds} {seen.name}")
    return made


def apply(planned: Plan, hand: Hand, medic: Medic) -> str:
    def stop(client: docker.APIClient, seen: Seen) -> None:
        client.stop(seen.id, timeout=seen.stop_seconds)

    return containers.until_state(containers.act(planned, hand, medic, stop), "exited", "stopped")


def happened(planned: Plan, medic: Medic) -> str:
    return containers.happened(planned, medic)
