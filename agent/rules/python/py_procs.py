"""Every Python server has the workers it was told to have, and they stay.

A master that starts a new worker for each one that dies looks well from outside while requests are dropped; the deaths
are counted between looks, so that a reload, which replaces all of them once, is none.
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, errored, finding, metric, size, table
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import PythonProcess, PythonSnapshot, Snapshot

NEEDS = ("python",)
UNANSWERED = STATUS_ERROR
RESPAWNED = Limit("respawned", 2, "count", "own")
NEXT_FEW = "look at its log for what ended the others (memory, a crash, an import): docker logs, journalctl"
NEXT_DYING = "look at its log and the kernel's: fleetmedic check {host} --include '*-OOM*' --show all"

COMMAND = "ps -o pid,ppid,stat,nlwp,rss,etimes,args --ppid PID --pid PID"
# A reload is one look in which workers were replaced; in two they die.
LOOKS = 2


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("python"):
        if snapshot.python.pid:
            yield _judged(snapshot, limits.of(RESPAWNED))
        else:
            yield errored(snapshot.target, "nothing was read of it")


def _judged(snapshot: Snapshot, limit: Limit) -> Finding:
    python = snapshot.python
    alive = [item for item in python.workers if item.state not in "ZX"]
    died, looks = _died(snapshot)
    status, summary, step = STATUS_OK, _well(python, alive), ""
    if _too_few(python, alive):
        status, step = STATUS_CRIT, NEXT_FEW
        summary = f"{len(alive)} of {python.expected_workers} workers ({python.expected_by})"
    if looks >= LOOKS and died > limit.value:
        status, step = STATUS_CRIT, NEXT_DYING
        summary = (
            f"{died} workers died and were started again in 5 min (limit {limit.value:.0f}), {len(alive)} are there"
        )
    rows = [_row("first", python.pid, "", python.age_seconds, python.resident_bytes, python.threads)]
    rows += [_row("worker", i.pid, i.state, i.age_seconds, i.resident_bytes, i.threads) for i in python.workers]
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[
            metric("workers", len(alive), "count"),
            metric("respawned", died, "count", limit),
            metric("resident_bytes", _resident(python), "bytes"),
        ],
        table=table(("what", "pid", "state", "age", "memory", "threads"), rows),
        equal_command=COMMAND.replace("PID", str(python.pid)),
        next_step=step,
    )


def _too_few(python: PythonSnapshot, alive: list[PythonProcess]) -> bool:
    """A server told to have one may do the work in its first process."""
    return len(alive) < python.expected_workers and (python.expected_workers > 1 or python.program == "gunicorn")


def _well(python: PythonSnapshot, alive: list[PythonProcess]) -> str:
    memory = f"{size(_resident(python))} resident"
    if not alive:
        return f"one process, {age(python.age_seconds)} old, {memory}"
    told = f" of {python.expected_workers}" if python.expected_workers else ""
    youngest = min(item.age_seconds for item in alive)
    return f"{len(alive)}{told} workers, the youngest {age(youngest)} old, {memory}"


def _resident(python: PythonSnapshot) -> int:
    """Pages that workers share count once for each."""
    return python.resident_bytes + sum(item.resident_bytes for item in python.workers)


def _row(what: str, pid: int, state: str, seconds: float, resident: int, threads: int) -> tuple[str, ...]:
    return what, str(pid), state, age(seconds), size(resident), str(threads)


def _died(snapshot: Snapshot) -> tuple[int, int]:
    """How many workers went away under this master since the oldest sample, and between how many looks."""
    python = snapshot.python
    first = f"first {python.pid} {snapshot.target.pid_start_ticks}"
    seen = [set(sample.counters) for sample in snapshot.earlier if first in sample.counters]
    seen.append({first} | {f"worker {item.pid} {item.start_ticks}" for item in python.workers})
    gone = [len(before - after) for before, after in zip(seen, seen[1:], strict=False)]
    return sum(gone), sum(count > 0 for count in gone)
