"""That agents are frozen, and what else is the matter with them, for people and for programs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from controller import frozen
from controller.frozen import Frozen
from controller.moments import stamp
from controller.render.escape import LONGEST, line
from controller.render.host_ranges import fold
from controller.render.paper import Paper
from fleetmedic.v1.agent_pb2 import Standing

# Of one host: an agent of ours has a few.
MOST_ALARMS = 8


def said(item: Frozen) -> str:
    """FROZEN 3 hosts: deploy freeze until 9 (alice, since 2026-11-28T10:20:00Z)."""
    count = len(item.hosts)
    by = line(item.freeze.user) or "nobody known"
    hosts = f"{count} host{'' if count == 1 else 's'}"
    return f"FROZEN {hosts}: {line(item.freeze.reason)} ({by}, since {stamp(item.freeze.since)})"


def write(paper: Paper, standings: Iterable[tuple[str, Standing]], *, alarms: bool = False) -> None:
    """Each freeze in a paragraph of its own; with `alarms` also what hosts' owners should mend."""
    known = list(standings)
    for text in (*freezes(known), *(alarmed(known) if alarms else ())):
        word, _, rest = text.partition(" ")
        paper.hanging(paper.paint(word, "warn") + " ", rest, len(word) + 1, len(word) + 1)


def freezes(standings: Iterable[tuple[str, Standing]]) -> Iterator[str]:
    """A line for each freeze, with its hosts."""
    for item in frozen.gather((host, frozen.of(standing)) for host, standing in standings):
        yield f"{said(item)}   {fold(item.hosts)}"


def alarmed(standings: Iterable[tuple[str, Standing]]) -> Iterator[str]:
    """A line for each alarm of agents, with its hosts."""
    alike: dict[str, list[str]] = {}
    for host, standing in standings:
        for alarm in standing.alarms[:MOST_ALARMS]:
            alike.setdefault(alarm[:LONGEST], []).append(host)
    for alarm, hosts in alike.items():
        yield f"ALARM {fold(hosts)}: {line(alarm)}"


def records(standings: Iterable[tuple[str, Standing]]) -> list[Mapping[str, object]]:
    """The freezes, for programs."""
    return [
        {"hosts": list(item.hosts), **freeze(item.freeze)}
        for item in frozen.gather((host, frozen.of(standing)) for host, standing in standings)
    ]


def freeze(item: frozen.Freeze) -> Mapping[str, object]:
    return {"reason": item.reason, "user": item.user, "since": stamp(item.since)}


def standing(host: Standing) -> Mapping[str, object]:
    """What a host's record says of its agent; nothing where there is nothing to say."""
    made: dict[str, object] = {}
    if (found := frozen.of(host)) is not None:
        made["frozen"] = freeze(found)
    if host.alarms:
        made["alarms"] = [alarm[:LONGEST] for alarm in host.alarms[:MOST_ALARMS]]
    return made


def reminders(hosts: Mapping[str, frozen.Freeze]) -> Sequence[str]:
    """For the commands that ask nobody: as it was when the hosts were last seen."""
    return [said(item) for item in frozen.gather(hosts.items())]
