"""No container that ought to run has ended.

The exit code and the OOM flag say how it ended: by an error of its own, killed for memory, killed by somebody, by a
signal, or because its command can't be started. A container ought to run when it is expected, or has a restart policy.
The engine starts such a one again unless somebody stopped it: one that stays ended after a success or the signals of
`docker stop` and `docker kill` was stopped by hand, which is a warning, and critical where it is expected.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Level, Limits, Seen, age, finding, timestamp
from agent.rules.docker import all_well, engines, is_called, ought_to_run, service
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_INFO, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Container, DockerSnapshot, Snapshot

NEEDS = ("docker",)
NEXT = "docker logs --tail 50 NAME shows its last words; keep them before anything starts it again"
NEXT_OOM = "raise its memory limit or lower its workers; restarting alone brings it back to the same end"
NEXT_STOPPED = "ask who stopped it; docker start NAME brings it back, the engine will not before it is restarted itself"
NEXT_START = "mend the image or its command, or roll the last deployment back: it can't start as it is"

COMMAND = "docker inspect -f '{{.State}}' NAME"
ENDED = frozenset({"exited", "dead"})
CODES = {
    0: "ended by itself with success, and ought to run",
    1: "application error (exit 1)",
    2: "wrong use of a command or shell (exit 2)",
    3: "uvicorn: the application failed to start (exit 3)",
    125: "docker itself could not run it (exit 125)",
    126: "its command is not executable (exit 126)",
    127: "its command was not found (exit 127)",
    130: "ended by SIGINT (exit 130)",
    131: "ended by SIGQUIT (exit 131)",
    134: "aborted, SIGABRT (exit 134)",
    139: "crashed in native code, SIGSEGV (exit 139)",
    143: "ended by SIGTERM (exit 143)",
}
KILLED = 137
# Success and the signals of a stop: SIGINT, SIGTERM, and SIGKILL where that was not heeded.
STOPPED = frozenset({0, 130, 143, KILLED})
CANT_START = frozenset({126, 127})


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in engines(seen):
        ended = [item for item in snapshot.docker.containers if _has_ended(item)]
        wrong = [item for item in ended if ought_to_run(item, snapshot.docker)]
        yield from (_ended(snapshot, item, seen.now, _status(item, snapshot.docker)) for item in wrong)
        others = [item for item in ended if item not in wrong and (item.exit_code or item.oom_killed)]
        yield from (_ended(snapshot, item, seen.now, STATUS_INFO) for item in others)
        if not wrong:
            unseen = sum(item.state in ENDED for item in snapshot.docker.listed)
            note = f" ({unseen} more have ended, longest ago, and were not looked into)" if unseen else ""
            yield all_well(snapshot, f"no container that ought to run has ended{note}", "docker ps -a")


def _status(container: Container, docker: DockerSnapshot) -> Level:
    by_hand = stopped_by_hand(container) and not is_called(container, docker.expected)
    return STATUS_WARN if by_hand else STATUS_CRIT


def stopped_by_hand(container: Container) -> bool:
    """Whether the engine leaves it ended because it was told to, as far as the ending tells."""
    gave_up = 0 < container.max_retries <= container.restart_count
    failed = container.oom_killed or container.error != "" or container.state != "exited"
    return container.exit_code in STOPPED and not gave_up and not failed


def _has_ended(container: Container) -> bool:
    return container.state in ENDED or (container.state == "created" and container.error != "")


def classify(container: Container) -> str:
    """What an ending means, from the exit code and the OOM flag (checks.md, exit classification)."""
    if container.oom_killed and container.exit_code == KILLED:
        return "killed for memory: over its own limit (exit 137, OOM)"
    if container.oom_killed:
        return f"a child was killed for memory, then it ended (exit {container.exit_code}, OOM)"
    if container.exit_code == KILLED:
        return (
            "killed by SIGKILL and not for its memory limit: docker kill, a stop that timed out, or the host (exit 137)"
        )
    return CODES.get(container.exit_code, f"exit {container.exit_code}")


def _ended(snapshot: Snapshot, container: Container, now: float, status: Level) -> Finding:
    since = ""
    if container.HasField("finished_time"):
        since = f", {age(max(0.0, now - timestamp(container.finished_time)))} ago"
    error = f"; {container.error}" if container.error else ""
    left = "; stopped, and will not come back by itself" if status == STATUS_WARN else ""
    return finding(
        status,
        snapshot.target,
        f"{container.name}: {classify(container)}{since}{error}{left}",
        kind="container",
        name=container.name,
        service=service(container),
        equal_command=COMMAND.replace("NAME", shlex.quote(container.name)),
        next_step=(NEXT_STOPPED if status == STATUS_WARN else _next(container)).replace(
            "NAME", shlex.quote(container.name)
        ),
    )


def _next(container: Container) -> str:
    if container.oom_killed:
        return NEXT_OOM
    return NEXT_START if container.exit_code in CANT_START else NEXT
