"""The Python of every server is known, and the same on every host of its service.

Read from the interpreter's binary: nothing is started in a container that may have no memory left. The controller names
the hosts that differ.
"""

from collections.abc import Iterator

from agent.rule import Limits, Seen, finding, skipped
from fleetmedic.v1.finding_pb2 import STATUS_OK, Fact, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("python",)

COMMAND = "/proc/PID/exe -V"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in seen.of("python"):
        yield _told(snapshot)


def _told(snapshot: Snapshot) -> Finding:
    python, target = snapshot.python, snapshot.target
    if not python.version:
        return skipped(target, python.version_unread or "nothing was read of it")
    same = COMMAND.replace("PID", str(python.pid))
    made = finding(STATUS_OK, target, f"Python {python.version}", equal_command=same)
    # By its name, without what tells two of one name on this host apart.
    server = target.name.partition(" (")[0]
    made.facts.append(Fact(name=f"Python of {server}", value=python.version))
    return made
