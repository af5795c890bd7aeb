"""Tables of hosts and their containers: what they use, which processes, how much room, which certificates."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from controller.tables.kind import Column, Kind, Row, Value, number, place, timestamp
from fleetmedic.v1.snapshot_pb2 import Container, FilesystemSnapshot, Snapshot


def _containers(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    for snapshot in snapshots:
        for item in snapshot.docker.containers:
            yield _container(snapshot, item)
        for item in snapshot.docker.listed:
            yield (item.compose_service or item.name, item.name, item.state, "", *[None] * 8, item.image)


def _container(snapshot: Snapshot, item: Container) -> Row:
    use = item.use if item.HasField("use") else None
    used: tuple[Value, ...] = (None,) * 6
    if use is not None:
        share = 100 * use.memory_bytes / use.memory_limit_bytes if use.memory_limit_bytes else None
        network = (use.received_bytes, use.sent_bytes) if use.received_bytes or use.sent_bytes else (None, None)
        used = (_processors(snapshot, item), use.memory_bytes, share, *network, use.processes)
    return (
        item.compose_service or item.name,
        item.name,
        item.state,
        item.health,
        *used,
        item.restart_count,
        timestamp(item.started_time) if item.state == "running" else None,
        item.image,
    )


def _processors(snapshot: Snapshot, item: Container) -> float | None:
    """In percent of one processor, since the flight recorder's last look; None where it has none."""
    name = f"cpu_seconds {item.id}"
    before = [sample for sample in snapshot.earlier if name in sample.counters]
    if not before:
        return None
    spent = item.use.cpu_seconds - before[-1].counters[name]
    passed = timestamp(snapshot.taken_time) - timestamp(before[-1].taken_time)
    return 100 * spent / passed if spent >= 0 and passed > 0 else None


def _processes(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    names = {item.id: item.name for snapshot in snapshots for item in snapshot.docker.containers}
    for snapshot in snapshots:
        for item in snapshot.processes.processes:
            share = 100 * item.cpu_seconds / item.age_seconds if item.age_seconds else None
            yield (
                names.get(item.container_id, item.container_id[:12]),
                item.pid,
                item.parent,
                item.user,
                item.state,
                item.threads,
                item.resident_bytes,
                share,
                item.age_seconds,
                item.command or f"[{item.name}]",
            )


def _disks(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    for snapshot in snapshots:
        if snapshot.HasField("filesystem"):
            room = snapshot.filesystem
            how = "read-only" if room.read_only else ""
            yield (*place(snapshot.target), room.device, *_room(room), how)
        for disk in snapshot.postgres_disk.disks:
            yield (snapshot.target.service, f"{disk.path} ({disk.part})", "", *_room(disk.room), "")


def _room(room: FilesystemSnapshot) -> tuple[Value, ...]:
    """As df counts: the share of what an ordinary user could have."""
    used = room.size_bytes - room.free_bytes
    usable = used + room.available_bytes
    files = 100 * (room.files - room.files_free) / room.files if room.files else None
    return room.size_bytes, used, room.available_bytes, 100 * used / usable if usable else None, files


def _certificates(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    for snapshot in snapshots:
        for place_in_chain, item in enumerate(snapshot.tls.chain):
            left = timestamp(item.not_after) - timestamp(snapshot.taken_time)
            kind = "served" if place_in_chain == 0 else "chain"
            names = " ".join(item.names[:5])
            dates = (left, timestamp(item.not_before), timestamp(item.not_after))
            yield (*place(snapshot.target), kind, *dates, item.subject, item.issuer, names, item.serial)


def _errors(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    for snapshot in snapshots:
        for item in snapshot.errors.endpoints:
            yield item.count, item.container, item.path or "(no path)"


def _unread(snapshot: Snapshot) -> str:
    """Of some containers the log may not have been read: told, for their errors are missing from the counts."""
    unread = [f"{item.container}: {item.reason}" for item in snapshot.errors.unread]
    more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
    return f"{'; '.join(unread[:3])}{more}" if unread else ""


def _docker_unseen(snapshot: Snapshot) -> str:
    docker = snapshot.docker
    return f"{docker.error_class}: {docker.error_text}" if docker.error_class else ""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "containers": Kind(
            "Containers and what they use, most memory first.",
            "docker stats --no-stream ; docker ps -a",
            ("docker",),
            (
                *map(Column, ("service", "container", "state", "health")),
                Column("cpu", "percent"),
                Column("memory", "bytes"),
                Column("of limit", "percent"),
                Column("received", "bytes"),
                Column("sent", "bytes"),
                Column("processes", "count"),
                Column("restarts", "count"),
                Column("started", "time"),
                Column("image"),
            ),
            _containers,
            _docker_unseen,
            lambda row: (row[2] == "running", -number(row[5]), str(row[1])),
        ),
        "processes": Kind(
            "Processes of containers and hosts, most memory first; cpu is since each began.",
            "docker exec NAME ps aux",
            ("processes",),
            (
                Column("container"),
                Column("pid", "count"),
                Column("parent", "count"),
                Column("user"),
                Column("state"),
                Column("threads", "count"),
                Column("memory", "bytes"),
                Column("cpu", "percent"),
                Column("age", "seconds"),
                Column("command"),
            ),
            _processes,
            lambda _: "",
            lambda row: (row[4] not in ("Z", "D"), row[0] == "", -number(row[6])),
            also=("docker",),
        ),
        "errors": Kind(
            "Errors of the last 15 minutes in the logs of containers, by endpoint, over all hosts together.",
            """docker logs NAME --since 15m | grep ERROR | grep -oP '"path":"[^"]*"' | sort | uniq -c | sort -rn""",
            ("errors",),
            (Column("count", "count"), Column("container"), Column("path")),
            _errors,
            lambda _: "",
            lambda row: (-number(row[0]), str(row[2])),
            total=0,
            partly=_unread,
        ),
        "disk": Kind(
            "Room on every filesystem and under PostgreSQL's data, the fullest first.",
            "df -h ; df -i",
            ("filesystem", "postgres_disk"),
            (
                *map(Column, ("service", "path", "device")),
                Column("size", "bytes"),
                Column("used", "bytes"),
                Column("available", "bytes"),
                Column("full", "percent"),
                Column("inodes", "percent"),
                Column("how"),
            ),
            _disks,
            lambda _: "",
            lambda row: (-number(row[6]), str(row[1])),
        ),
        "certificates": Kind(
            "Certificates as they are served, the first to end first.",
            "openssl s_client -connect HOST:PORT | openssl x509 -noout -dates",
            ("tls",),
            (
                *map(Column, ("service", "endpoint", "place")),
                Column("left", "seconds"),
                Column("from", "time"),
                Column("until", "time"),
                *map(Column, ("subject", "issuer", "names", "serial")),
            ),
            _certificates,
            lambda snapshot: (
                f"{snapshot.tls.error_class}: {snapshot.tls.error_text}" if snapshot.tls.error_class else ""
            ),
            lambda row: (number(row[3]),),
        ),
    }
)
