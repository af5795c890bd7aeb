"""No container was deployed within the last hour.

No fault in itself, and so told without alarm: most errors begin with a change, and "was there a deployment?" is the
first question of any incident. A container that was only restarted keeps the date it was made.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, finding, metric, table, timestamp
from agent.rules.docker import all_well, engines, service
from fleetmedic.v1.finding_pb2 import STATUS_INFO, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
RECENT = Limit("recent_seconds", 3600, "seconds", "own")

COMMAND = "docker inspect -f '{{.Created}} {{.Config.Image}}' NAME"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    limit = limits.of(RECENT)
    for snapshot in engines(seen):
        # Jobs come and go.
        kept = [item for item in snapshot.docker.containers if item.HasField("created_time") and not item.passing]
        recent = [item for item in kept if 0 <= seen.now - timestamp(item.created_time) < limit.value]
        yield from (_told(snapshot, item, seen.now, limit) for item in recent)
        if not recent:
            newest = max((timestamp(item.created_time) for item in kept), default=None)
            last = f", the last one was {age(seen.now - newest)} ago" if newest is not None else ""
            yield all_well(snapshot, f"nothing was deployed in {age(limit.value)}{last}", "docker ps -a")


def _told(snapshot: Snapshot, item: Container, now: float, limit: Limit) -> Finding:
    since = now - timestamp(item.created_time)
    release = " ".join(filter(None, (item.image_version, item.image_revision[:12])))
    rows = [("image", item.image), ("image id", item.image_id), ("release", release), ("state", item.state)]
    return finding(
        STATUS_INFO,
        snapshot.target,
        f"{item.name} was deployed {age(since)} ago: image {item.image}{f', release {release}' if release else ''}",
        kind="container",
        name=item.name,
        service=service(item),
        metrics=[metric("seconds", since, "seconds", limit)],
        table=table(("what", "value"), [row for row in rows if row[1]]),
        equal_command=COMMAND.replace("NAME", shlex.quote(item.name)),
    )
