"""Which agents refuse changes, and why: from their answers, and from a small file that reminds every other command."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from controller import writing
from fleetmedic.v1.agent_pb2 import Standing

# Of one text: an agent of ours says no more.
LONGEST = 200


@dataclass(frozen=True, slots=True)
class Freeze:
    """`since` in epoch seconds; the texts are a host's, and hostile."""

    reason: str
    user: str
    since: float


@dataclass(frozen=True, slots=True)
class Frozen:
    """One freeze and the hosts that have it alike."""

    freeze: Freeze
    hosts: tuple[str, ...]


def of(standing: Standing) -> Freeze | None:
    if not standing.HasField("freeze"):
        return None
    said = standing.freeze
    since = said.since_time.seconds + said.since_time.nanos / 1e9
    return Freeze(said.reason[:LONGEST], said.user[:LONGEST], since if 0 <= since < 1e11 else 0.0)


def gather(seen: Iterable[tuple[str, Freeze | None]]) -> tuple[Frozen, ...]:
    """Hosts by freeze, where a push reached each a moment later too; those that are not frozen are left out."""
    alike: dict[tuple[str, str], tuple[Freeze, list[str]]] = {}
    for host, freeze in seen:
        if freeze is not None:
            first, hosts = alike.setdefault((freeze.reason, freeze.user), (freeze, []))
            hosts.append(host)
            if freeze.since < first.since:
                alike[freeze.reason, freeze.user] = freeze, hosts
    return tuple(Frozen(freeze, tuple(hosts)) for freeze, hosts in alike.values())


def note(file: Path, seen: Mapping[str, Freeze | None]) -> None:
    """Brings the file up to what these hosts have said; where none is frozen it goes. OSError where that can't be."""
    before = read(file)
    after = {host: freeze for host, freeze in {**before, **seen}.items() if freeze is not None}
    if after == before:
        return
    if not after:
        file.unlink(missing_ok=True)
        return
    rows = {host: [freeze.reason, freeze.user, freeze.since] for host, freeze in after.items()}
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    writing.replace(file, json.dumps(rows, indent=1), 0o600)


def read(file: Path) -> Mapping[str, Freeze]:
    """The hosts that were frozen when they were last seen; none where the file is not there, or is none of ours."""
    try:
        rows = json.loads(file.read_bytes())
        return {host: _row(row) for host, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _row(row: object) -> Freeze:
    if not isinstance(row, list) or len(row) != 3:
        raise ValueError("no freeze")
    reason, user, since = row
    if not math.isfinite(since) or not 0 <= since < 1e11:
        raise ValueError("no time")
    return Freeze(str(reason), str(user), float(since))
