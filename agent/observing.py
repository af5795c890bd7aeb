"""What an action looks at: targets as discovery finds them, each looked at by its probe, in a job with a budget."""

import time
from collections.abc import Sequence

from agent import discovery, probes
from agent.action import not_here, not_now
from agent.check import Medic
from agent.jobs import Crew
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target


def look(medic: Medic, target: Target) -> Snapshot:
    """Its snapshot, redacted. Refused where it can't be looked at: what is not seen is not acted on."""
    crew = Crew(medic.locks)
    work = probes.work(target, medic.config)
    crew.add([work])
    (made,) = [*crew.finished(time.monotonic() + work.budget + 1), *crew.abandon()]
    if made.HasField("failure"):
        raise not_now(f"{target.name} can't be looked at: {made.failure.detail}")
    return made


def the_one(medic: Medic, probe: str, service: str, what: str) -> Target:
    """The target of a probe, of a service where one is named. Refused where there is none, or more than one."""
    found = targets(medic, probe)
    named = [target for target in found if service in ("", target.service)]
    if len(named) == 1:
        return named[0]
    here = ", ".join(sorted({target.service for target in found})) or "none"
    if named:
        raise not_here(f"more than one {what} here: name its service, one of {here}")
    raise not_here(f"no {what}{f' of the service {service}' if service else ''} here; there are: {here}")


def targets(medic: Medic, probe: str) -> Sequence[Target]:
    """Those of a probe, of agent.toml and as found. Refused where discovery could not look."""
    found = discovery.run(medic.config, medic.locks)
    blind = [item for item in found.blind if item.target.probe == probe]
    wanted = [target for target in found.targets if target.probe == probe]
    if blind and not wanted:
        raise not_now(f"{probe}: {blind[0].failure.detail}")
    return wanted
