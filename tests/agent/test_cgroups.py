"""Control groups of both versions as the kernel writes them, and the kernel's own log."""

import os
from pathlib import Path

import pytest

from agent import cgroups, mounts
from agent.probes import kernel

# pragma: allowlist nextline secret - a container's id
IDENTITY = "d7687ad919c89a7c11b5c5f92a160056ddf0fe6ee290882697e3f34a606c8bc9"
V1 = """31 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
32 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
V2 = "30 24 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hierarchies_are_found_by_what_is_mounted() -> None:
    assert {name: str(path) for name, path in cgroups.hierarchies(V1).items()} == {
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
        "": "/sys/fs/cgroup/unified",
    }
    assert {name: str(path) for name, path in cgroups.hierarchies(V2).items()} == {"": "/sys/fs/cgroup"}


@pytest.mark.parametrize(("most", "limit"), [("67108864", 67108864), ("max", 0), (str(2**62), 0)])
def test_version_2_is_read_without_what_the_kernel_can_drop(tmp_path: Path, most: str, limit: int) -> None:
    files = {
        "memory.max": most,
        "memory.current": "1000",
        "memory.stat": "anon 600\ninactive_file 300\nactive_file 100\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "memory.events": "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert cgroups.version_2(tmp_path) == cgroups.Use(2.5, 700, limit, 2)


def test_version_1_is_read_without_what_the_kernel_can_drop(tmp_path: Path) -> None:
    files = {
        "memory.usage_in_bytes": "1000",
        "memory.limit_in_bytes": "9223372036854771712",
        "memory.stat": "rss 600\ninactive_file 1\ntotal_inactive_file 1300\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 9\n",
        "cpuacct.usage": "1500000000",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert cgroups.version_1(tmp_path, tmp_path) == cgroups.Use(1.5, 0, 0, 9)


def test_a_process_that_is_not_yet_in_its_containers_group_is_not_counted_by_another() -> None:
    assert cgroups.use(os.getpid(), "") is not None
    assert cgroups.use(os.getpid(), IDENTITY) is None


def test_a_killing_is_read_from_a_record_of_the_kernels_log() -> None:
    record = (
        "6,1204,14902200249,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,"
        f"oom_memcg=/docker/{IDENTITY},task_memcg=/docker/{IDENTITY},task=python3,pid=22057,uid=0"
    )
    found = kernel.KILLING.match(record)
    assert found is not None
    made = kernel.killing(found, 1000.0)
    assert (made.pid, made.name, made.container_id, made.constraint) == (22057, "python3", IDENTITY, "memcg")
    assert made.time.seconds == 1000 + 14902
    whole = record.replace("CONSTRAINT_MEMCG", "CONSTRAINT_NONE").replace(f"/docker/{IDENTITY}", "/system.slice")
    found = kernel.KILLING.match(whole)
    assert found is not None
    assert (kernel.killing(found, 0.0).constraint, kernel.killing(found, 0.0).container_id) == ("none", "")
    assert kernel.KILLING.match("6,1,2,-;somebody writes oom-kill:constraint=x") is None


@pytest.mark.parametrize(
    ("options", "whole", "read_only"),
    [
        ("rw", "rw", False),
        ("ro", "rw", False),
        ("ro", "ro", True),
        ("rw", "rw,emergency_ro", True),
        ("rw", "rw,errors=remount-ro", False),
        ("rw", "rw,shutdown", True),
    ],
)
def test_a_filesystem_is_read_only_by_itself_and_not_by_one_mount_of_it(
    options: str, whole: str, read_only: bool
) -> None:
    (mount,) = mounts.read(f"36 35 98:0 / /data {options},noatime - ext4 /dev/sda1 {whole}\n")
    assert mount.read_only is read_only
    assert [item.point for item in mounts.real(iter([mount]), ())] == ["/data"]
