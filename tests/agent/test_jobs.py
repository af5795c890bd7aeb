"""Jobs are real forks: what they bring, how they end, and that nothing of them is left."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent import jobs
from agent.jobs import KILL_GRACE, LARGEST_RESULT, Crew, NeedsRight, Work
from fleetmedic.v1.snapshot_pb2 import (
    FAILURE_KIND_CRASHED,
    FAILURE_KIND_NEEDS_RIGHT,
    FAILURE_KIND_OUT_OF_TIME,
    FAILURE_KIND_STUCK,
    FAILURE_KIND_TIMEOUT,
    FailureKind,
    RedisSnapshot,
    Snapshot,
    Target,
)
from tests.lab import child
from tests.lab.waiting import until

SECRET = "hunter2Secret"
NEVER = 60.0
ROOT = Path(__file__).parent.parent.parent
LINE = "x" * 999 + "\n"


def work(run: Callable[[Target], Snapshot], budget: float = 5.0, name: str = "t", **more: str) -> Work:
    return Work(Target(probe="redis", name=name), run, budget, **more)  # type: ignore[arg-type]


def outcome(locks: Path, *works: Work, seconds: float = 10.0) -> list[Snapshot]:
    crew = Crew(locks)
    crew.add(works)
    return list(crew.finished(time.monotonic() + seconds))


def failure(locks: Path, run: Callable[[Target], Snapshot], budget: float = 5.0) -> tuple[str, str]:
    """The kind and detail of what a job failed with."""
    (made,) = outcome(locks, work(run, budget))
    return FailureKind.Name(made.failure.kind).removeprefix("FAILURE_KIND_").lower(), made.failure.detail


def well(target: Target) -> Snapshot:
    return Snapshot(redis=RedisSnapshot(version=target.name))


def sleeps(target: Target) -> Snapshot:
    time.sleep(NEVER)
    return well(target)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_job_brings_its_snapshot_with_target_time_and_duration(tmp_path: Path) -> None:
    (made,) = outcome(tmp_path, work(well, name="a"))
    assert (made.redis.version, made.target.name) == ("a", "a")
    assert made.HasField("took")
    assert abs(made.taken_time.ToSeconds() - time.time()) < 5
    assert not made.HasField("failure")


def test_a_job_runs_in_a_session_and_with_descriptors_of_its_own(tmp_path: Path) -> None:
    secret = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(secret, True)

    def look(target: Target) -> Snapshot:
        opened = sum(1 for number in range(256) if _is_open(number))
        return Snapshot(redis=RedisSnapshot(version=f"{os.getsid(0) == os.getpid()} {_is_open(secret)} {opened}"))

    (made,) = outcome(tmp_path, work(look))
    os.close(secret)
    assert made.redis.version == "True False 5", "0, 1, 2, the lock and the pipe"


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_what_a_job_brings_is_redacted_before_it_leaves_and_its_target_stays_readable(tmp_path: Path) -> None:
    def look(target: Target) -> Snapshot:
        return Snapshot(redis=RedisSnapshot(error_text=f"password={SECRET} and plainvalue", acl="x"))

    target = Target(probe="redis", name="auth-db:6379", url=f"http://u:{SECRET}@auth-db:80/?t={SECRET}")
    (made,) = outcome(tmp_path, Work(target, look, 5.0, ("plainvalue",)))
    assert made.redis.error_text == "password=*** and ***"
    assert SECRET.encode() not in made.SerializeToString()
    assert (made.target.name, made.target.url) == ("auth-db:6379", "http://u:***@auth-db:80/")


def test_an_exception_is_told_by_type_and_place_and_never_by_its_text(tmp_path: Path) -> None:
    def broken(target: Target) -> Snapshot:
        raise RuntimeError(f"could not connect with {SECRET}")

    kind, detail = failure(tmp_path, broken)
    assert kind == "crashed"
    assert detail.startswith("RuntimeError at test_jobs.py:")


def test_a_job_that_wants_to_leave_or_dies_of_a_signal_is_a_crash_and_not_a_second_parent(tmp_path: Path) -> None:
    parent = os.getpid()

    def leaves(target: Target) -> Snapshot:
        raise SystemExit(0)

    def dies(target: Target) -> Snapshot:
        os.kill(os.getpid(), signal.SIGSEGV)
        return well(target)

    assert failure(tmp_path, leaves) == ("crashed", "the probe ended with 1")
    assert failure(tmp_path, dies) == ("crashed", "the probe ended with -11")
    assert os.getpid() == parent


def test_a_job_that_brings_rubbish_or_nothing_is_a_crash(tmp_path: Path) -> None:
    def rubbish(target: Target) -> Snapshot:
        for number in range(3, 64):
            if _is_open(number) and str(Path(f"/proc/self/fd/{number}").readlink()).startswith("pipe:"):
                os.write(number, b"\xff\xff\xff")
        os._exit(0)

    def nothing(target: Target) -> Snapshot:
        os._exit(0)

    assert failure(tmp_path, rubbish) == ("crashed", "the probe ended with 0")
    assert failure(tmp_path, nothing) == ("crashed", "the probe ended with 0")


def test_a_right_that_is_missing_is_named(tmp_path: Path) -> None:
    def lacks(target: Target) -> Snapshot:
        raise NeedsRight("needs root to join the container's network")

    assert failure(tmp_path, lacks) == ("needs_right", "needs root to join the container's network")


def in_a_clean_process(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.agent.clean_jobs", name, folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_permission_that_an_ordinary_user_lacks_needs_root(tmp_path: Path) -> None:
    assert in_a_clean_process("reads_a_locked_file", tmp_path) == "needs_right needs root"


def test_root_is_not_told_to_become_root(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")

    def refused(target: Target) -> Snapshot:
        raise PermissionError(13, f"denied {SECRET}")

    kind, detail = failure(tmp_path, refused)
    assert kind == "crashed"
    assert detail.startswith("PermissionError at ")


def test_a_job_that_hangs_is_killed_at_its_budget_and_others_are_not_held_up(tmp_path: Path) -> None:
    began = time.monotonic()
    crew = Crew(tmp_path)
    crew.add([work(sleeps, 0.3, "hangs"), work(well, name="well")])
    came = [(made.target.name, made.failure.kind, time.monotonic() - began) for made in crew.finished(began + 5)]
    assert [row[:2] for row in came] == [("well", 0), ("hangs", FAILURE_KIND_TIMEOUT)]
    assert came[0][2] < 0.3 <= came[1][2] < 0.3 + KILL_GRACE + 0.5


def test_a_job_that_ignores_every_signal_it_can_is_killed_all_the_same(tmp_path: Path) -> None:
    def ignores(target: Target) -> Snapshot:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        return sleeps(target)

    assert failure(tmp_path, ignores, 0.2) == ("timeout", "no answer within 0.2 s (timeout)")


def test_a_job_that_is_stopped_is_killed_at_its_budget(tmp_path: Path) -> None:
    def stops(target: Target) -> Snapshot:
        os.kill(os.getpid(), signal.SIGSTOP)
        return well(target)

    assert failure(tmp_path, stops, 0.2)[0] == "timeout"


def test_more_than_4_mib_is_cut_off(tmp_path: Path) -> None:
    def floods(target: Target) -> Snapshot:
        return Snapshot(redis=RedisSnapshot(version=LINE * (LARGEST_RESULT // len(LINE) + 1)))

    def fills(target: Target) -> Snapshot:
        return Snapshot(redis=RedisSnapshot(version=LINE * (LARGEST_RESULT // len(LINE) - 1)))

    began = time.monotonic()
    assert failure(tmp_path, floods) == ("crashed", "the probe brought more than 4 MiB")
    assert time.monotonic() - began < 4
    (made,) = outcome(tmp_path, work(fills))
    assert len(made.redis.version) > LARGEST_RESULT - 3000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("forks_and_hangs", "timeout no answer within 0.5 s (timeout)"),
        ("forks_and_floods", "crashed the probe brought more than 4 MiB"),
    ],
)
def test_what_a_job_started_is_killed_with_it(tmp_path: Path, name: str, said: str) -> None:
    assert in_a_clean_process(name, tmp_path) == said
    pid = int((tmp_path / "pid").read_text())
    until("the grandchild is gone", lambda: child.state(pid) in ("", "Z"), seconds=2.0)


def test_fifty_jobs_leave_no_descriptor_and_no_zombie(tmp_path: Path) -> None:
    before = descriptors()

    def broken(target: Target) -> Snapshot:
        raise ValueError

    runs = (well, broken, lambda target: os._exit(3))
    made = outcome(
        tmp_path, *(work(runs[n % 3], name=str(n)) for n in range(48)), work(sleeps, 0.2, "a"), work(sleeps, 0.2, "b")
    )
    assert sorted(item.target.name for item in made) == sorted([*map(str, range(48)), "a", "b"])
    assert descriptors() == before
    assert [pid for pid in child.descendants(os.getpid()) if child.state(pid) == "Z"] == []


def test_at_most_so_many_work_at_once_and_budgets_run_from_the_order(tmp_path: Path) -> None:
    crew = Crew(tmp_path, at_once=2)
    crew.add(work(sleeps, 0.3, str(n)) for n in range(4))
    began = time.monotonic()
    made = list(crew.finished(began + 5))
    assert [item.failure.kind for item in made] == [FAILURE_KIND_TIMEOUT] * 4
    assert time.monotonic() - began < 2.0


def test_finished_stops_at_its_time_and_abandon_ends_the_rest_as_out_of_time(tmp_path: Path) -> None:
    crew = Crew(tmp_path, at_once=1)
    crew.add([work(sleeps, 9.0, "working"), work(sleeps, 9.0, "waiting")])
    began = time.monotonic()
    assert list(crew.finished(began + 0.2)) == []
    assert time.monotonic() - began < 0.5
    made = {item.target.name: item.failure for item in crew.abandon()}
    assert {name: item.kind for name, item in made.items()} == dict.fromkeys(
        ("working", "waiting"), FAILURE_KIND_OUT_OF_TIME
    )
    assert not crew.busy


def slowly(target: Target) -> Snapshot:
    time.sleep(0.3)
    return well(target)


def other_check(locks: Path, run: Callable[[Target], Snapshot]) -> int:
    """A second process with a crew at the same target; its pid, once its job holds the lock."""
    pid = os.fork()
    if pid == 0:
        outcome(locks, work(run))
        os._exit(0)
    until("the other's lock", lambda: any(file.stat().st_size for file in locks.glob("*.lock")))
    return pid


def test_a_second_check_waits_for_the_first_one_s_job_at_the_same_target(tmp_path: Path) -> None:
    other = other_check(tmp_path, slowly)
    began = time.monotonic()
    (made,) = outcome(tmp_path, work(well))
    waited = time.monotonic() - began
    os.waitpid(other, 0)
    assert made.redis.version == "t"
    assert 0.1 < waited < 2.0


def test_a_second_check_at_another_target_does_not_wait(tmp_path: Path) -> None:
    other = other_check(tmp_path, slowly)
    began = time.monotonic()
    outcome(tmp_path, work(well, name="u"))
    assert time.monotonic() - began < 0.25
    os.waitpid(other, 0)


def test_a_second_check_that_waited_its_whole_budget_says_so(tmp_path: Path) -> None:
    other = other_check(tmp_path, sleeps)
    (made,) = outcome(tmp_path, work(well, 0.2))
    assert made.failure.kind == FAILURE_KIND_OUT_OF_TIME
    assert made.failure.detail == "another check was looking at it all the time"
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Path]:
    """Hold the lock of the target as a job that can't be killed would, past its budget."""
    other = other_check(tmp_path, sleeps)
    (lock,) = tmp_path.glob("*.lock")
    began = time.clock_gettime(time.CLOCK_BOOTTIME) - 100
    lock.write_text(f"{began:.3f} 5 {time.time() - 100:.3f}")
    yield tmp_path
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)


def test_a_job_that_hangs_for_good_is_told_at_once_with_since_when(stuck: Path) -> None:
    began = time.monotonic()
    (made,) = outcome(stuck, work(well))
    assert time.monotonic() - began < 0.2
    assert made.failure.kind == FAILURE_KIND_STUCK
    since = time.gmtime(time.time() - 100)
    assert made.failure.detail.startswith(time.strftime("still stuck since %Y-%m-%d %H:", since))
    assert abs(made.failure.since_time.ToSeconds() - (time.time() - 100)) < 5


@pytest.mark.parametrize("content", ["", "x y z", "1 2", "nan nan nan"])
def test_a_lock_file_that_says_nothing_of_use_is_no_reason_to_call_anything_stuck(tmp_path: Path, content: str) -> None:
    other = other_check(tmp_path, sleeps)
    (lock,) = tmp_path.glob("*.lock")
    lock.write_text(content)
    (made,) = outcome(tmp_path, work(well, 0.2))
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    assert made.failure.kind == FAILURE_KIND_OUT_OF_TIME


def test_shared_work_does_not_wait_for_another_check_s(tmp_path: Path) -> None:
    other = other_check(tmp_path, sleeps)
    (made,) = outcome(tmp_path, replace(work(well, 2.0), shared=True))
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    assert made.redis.version == "t"


def test_a_folder_that_takes_no_lock_keeps_nobody_from_looking(tmp_path: Path) -> None:
    (made,) = outcome(tmp_path / "not" / "there", work(well))
    assert made.redis.version == "t"


def test_old_locks_are_forgotten_and_young_ones_are_not(tmp_path: Path) -> None:
    old, young = tmp_path / "a.lock", tmp_path / "b.lock"
    for file in (old, young):
        file.touch()
    os.utime(old, (0, time.time() - 2 * 86400))
    jobs.forget_old_locks(tmp_path, time.time())
    assert [file.name for file in tmp_path.iterdir()] == ["b.lock"]


def test_an_old_lock_that_a_hanging_job_holds_is_kept(tmp_path: Path) -> None:
    held = tmp_path / "a.lock"
    with held.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.utime(held, (0, time.time() - 2 * 86400))
        jobs.forget_old_locks(tmp_path, time.time())
        assert held.exists()
    jobs.forget_old_locks(tmp_path, time.time())
    assert not held.exists()


def test_a_job_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def writes(target: Target) -> Snapshot:
        note.write_text(str(os.getpid()))
        return sleeps(target)

    parent = os.fork()
    if parent == 0:
        outcome(tmp_path, work(writes))
        os._exit(0)
    pid = int(until("the job", lambda: note.exists() and note.read_text()))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    until("the job is gone", lambda: child.state(pid) in ("", "Z"), seconds=2.0)
    (made,) = outcome(tmp_path, work(well))
    assert made.redis.version == "t", "its lock went with it"


def test_every_failure_kind_of_a_job_is_one_that_a_rule_can_tell() -> None:
    assert {FAILURE_KIND_CRASHED, FAILURE_KIND_NEEDS_RIGHT, FAILURE_KIND_STUCK, FAILURE_KIND_TIMEOUT} <= set(
        FailureKind.values()
    )
