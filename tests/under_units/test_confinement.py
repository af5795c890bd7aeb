"""What the units deny, tried within the very sandbox that the packaged files make, beside what plain root may do."""

import time
from collections.abc import Mapping, Sequence

import pytest

from tests.lab.agents import Command, Desk
from tests.lab.hosts import LabHost, Site
from tests.lab.waiting import until
from tests.under_units import by_hand
from tests.under_units.by_hand import SERVE, UNITS, WORK

CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
# EPERM is 1; a kernel without modules says 38, one with them 14 or 22.
MODULE = "import ctypes; l = ctypes.CDLL(None, use_errno=True); l.syscall(175, 0, 0, 0); exit(ctypes.get_errno() == 1)"
# PTRACE_SEIZE, which does not stop it.
TRACE = "import ctypes; exit(ctypes.CDLL(None).ptrace(0x4206, 1, 0, 0) and 1)"
EXECUTABLE = "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)"
ENGINE = """\
[Service]
ExecStartPre=/bin/rm -f /run/docker.sock
ExecStart=/usr/bin/python3 -c "import os, signal, socket; os.umask(0o117); s = socket.socket(socket.AF_UNIX); \\
    s.bind('/run/docker.sock'); os.chown('/run/docker.sock', 0, 1); s.listen(); signal.pause()"
"""
ROOT_ALONE = "[Service]\nType=oneshot\nExecStart=replaced\n"


@pytest.fixture(scope="module")
def host(confined: Site) -> LabHost:
    """The host with both units, and a socket where an engine has it, for root and one group."""
    confined.only.put({"/etc/systemd/system/lab-engine.service": ENGINE})
    confined.only.run("install", "-d", "/var/lib/fleetmedic/trust")
    confined.only.run("systemctl", "daemon-reload")
    confined.only.run("systemctl", "start", "lab-engine.service")
    until("socket", lambda: confined.only.tried("test", "-S", "/run/docker.sock").code == 0)
    return confined.only


def touched(path: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", f"touch {path}/tried-$$ && rm {path}/tried-$$")


def python(code: str, *more: str) -> tuple[str, ...]:
    return ("/usr/bin/python3", "-c", code, *more)


def checked(desk: Desk, site: Site) -> Command:
    return desk.check("-i", site.inventory, "--deadline", "60s", "--connect-timeout", "20s", "--format", "json")


def answers(desk: Desk, site: Site) -> bool:
    """Whether a check is carried out, whatever it finds."""
    return checked(desk, site).json()["reports"][0]["state"] in ("ok", "failed")


FRONT_MAY_NOT = {
    "write to /etc": touched("/etc"),
    "write its own configuration": touched("/etc/fleetmedic"),
    "write to its programs": touched("/opt/fleetmedic"),
    "write beside its identity": touched("/var/lib/fleetmedic"),
    "write what the worker keeps": touched("/var/lib/fleetmedic/agent"),
    "write the denylist": touched("/var/lib/fleetmedic/trust"),
    "write to the run folder": touched("/run/fleetmedic"),
    "write to /run": touched("/run"),
    "write to what all may write": touched("/run/lock"),
    "write to a home": touched("/home/deploy"),
    "read a home": ("/bin/ls", "/home/deploy"),
    "read passwords": ("/bin/cat", "/etc/shadow"),
    "see another's processes": ("/bin/ls", "/proc/1"),
    "see the host's devices": ("/bin/ls", "/dev/fuse"),
    "read the kernel's log": ("/bin/dd", "if=/dev/kmsg", "of=/dev/null", "bs=8192", "count=1", "iflag=nonblock"),
    "call the Docker engine": python(CONNECT, "/run/docker.sock"),
    "make memory that can be written and run": python(EXECUTABLE),
    "trace a process": python(TRACE),
    "load a module": python(MODULE),
    "make a namespace": ("/usr/bin/unshare", "--uts", "true"),
    "mount": ("/bin/sh", "-c", "mount -t tmpfs x /mnt && umount /mnt"),
    "become root": ("/usr/bin/sudo", "-n", "true"),
    "open a raw socket": python("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
}
WORKER_MAY_NOT = {
    "write to /etc": touched("/etc"),
    "write to its programs": touched("/opt/fleetmedic"),
    "write to a home": touched("/home/deploy"),
    "write to root's home": touched("/root"),
    "write to the data of services": touched("/srv"),
    "write to others' state": touched("/var/lib"),
    "write the front's identity": touched("/var/lib/fleetmedic/identity"),
    "write to /run": touched("/run"),
    "write to control groups": (
        "/bin/sh",
        "-c",
        "d=$(ls -d /sys/fs/cgroup/systemd /sys/fs/cgroup | tail -1); mkdir $d/tried-$$ && rmdir $d/tried-$$",
    ),
    "change the kernel's settings": ("/bin/sh", "-c", "cat /proc/sys/kernel/domainname > /proc/sys/kernel/domainname"),
    "set the clock": python("import time; time.clock_settime(time.CLOCK_REALTIME, time.time())"),
    "set the host's name": python("import socket; socket.sethostname(socket.gethostname())"),
    "load a module": python(MODULE),
    "trace a process": python(TRACE),
    "make memory that can be written and run": python(EXECUTABLE),
    "make a namespace of mounts": ("/usr/bin/unshare", "--mount", "true"),
    "mount": ("/bin/sh", "-c", "mount -t tmpfs x /mnt && umount /mnt"),
    "give a file away": (
        "/bin/sh",
        "-c",
        "cd /run/fleetmedic && touch given-$$ && chown deploy given-$$; s=$?; rm given-$$; exit $s",
    ),
    "make a file that runs as root": (
        "/bin/sh",
        "-c",
        "cd /run/fleetmedic && touch s-$$ && chmod 4755 s-$$; s=$?; rm s-$$; exit $s",
    ),
    "open a raw socket": python("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
}
"""What plain root may; each is tried as plain root, too."""


NEEDED = {
    (SERVE, "write its identity"): touched("/var/lib/fleetmedic/identity"),
    (SERVE, "call the worker"): python(CONNECT, "/run/fleetmedic/worker.sock"),
    (SERVE, "read its configuration"): ("/bin/cat", "/etc/fleetmedic/agent.toml"),
    (WORK, "write its state"): touched("/var/lib/fleetmedic/agent"),
    (WORK, "write the denylist"): touched("/var/lib/fleetmedic/trust"),
    (WORK, "write to its run folder"): touched("/run/fleetmedic"),
    (WORK, "call the Docker engine"): python(CONNECT, "/run/docker.sock"),
    (WORK, "look into another's files"): ("/bin/ls", "/proc/1/root/etc"),
    (WORK, "join a network"): ("/usr/bin/nsenter", "--target", "1", "--net", "true"),
}
# Without a sandbox, as root.
PLAIN = ""


@pytest.fixture(scope="module")
def ended_well(host: LabHost) -> Mapping[tuple[str, str], bool]:
    """Whether each program ends well in each sandbox that it is tried in, and as plain root: all at once."""
    cases = dict(NEEDED)
    for unit, commands in ((SERVE, FRONT_MAY_NOT), (WORK, WORKER_MAY_NOT)):
        cases |= {(one, what): command for what, command in commands.items() for one in (unit, PLAIN)}
    names = {case: f"tried-{number}.service" for number, case in enumerate(cases)}
    host.put({f"/etc/systemd/system/{names[case]}": tried(case[0], command) for case, command in cases.items()})
    host.run("systemctl", "daemon-reload")
    host.tried("systemctl", "start", *names.values())
    shown = host.run("systemctl", "show", "--property=Id,Result,ExecMainStartTimestampMonotonic", *names.values())
    results = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n")]
    by_name = {row["Id"]: row for row in results}
    assert all(row["ExecMainStartTimestampMonotonic"] != "0" for row in results), shown
    return {case: by_name[name]["Result"] == "success" for case, name in names.items()}


def tried(unit: str, command: Sequence[str]) -> str:
    """A unit's own file with another program to start, once."""
    text = by_hand.unit(unit).read_text() if unit else ROOT_ALONE
    escaped = (word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") for word in command)
    instead = {
        "Type": "Type=oneshot\nRemainAfterExit=yes",
        "Restart": "Restart=no",
        "ExecStart": "ExecStart=" + " ".join(f'"{word}"' for word in escaped),
    }
    lines = (instead.get(line.partition("=")[0], line) for line in text.splitlines())
    return "\n".join(lines) + "\n"


@pytest.mark.covers("sec:units")
@pytest.mark.parametrize("what", FRONT_MAY_NOT)
def test_the_front_may_not(ended_well: Mapping[tuple[str, str], bool], what: str) -> None:
    assert (ended_well[PLAIN, what], ended_well[SERVE, what]) == (True, False)


@pytest.mark.covers("sec:units")
@pytest.mark.parametrize("what", WORKER_MAY_NOT)
def test_the_worker_may_not(ended_well: Mapping[tuple[str, str], bool], what: str) -> None:
    assert (ended_well[PLAIN, what], ended_well[WORK, what]) == (True, False)


@pytest.mark.covers("sec:units")
@pytest.mark.parametrize(("unit", "what"), NEEDED)
def test_what_is_needed_is_allowed(ended_well: Mapping[tuple[str, str], bool], unit: str, what: str) -> None:
    assert ended_well[unit, what]


@pytest.mark.covers("sec:units")
@pytest.mark.parametrize(
    ("unit", "user", "capabilities"),
    [(SERVE, "fleetmedic", set()), (WORK, "root", {"DAC_OVERRIDE", "SETUID", "SETGID", "SYS_ADMIN"})],
)
def test_the_running_agent_has_that_sandbox(host: LabHost, unit: str, user: str, capabilities: set[str]) -> None:
    pid = host.run("systemctl", "show", "--value", "--property=MainPID", unit).strip()
    status = dict(line.split(":", 1) for line in host.run("cat", f"/proc/{pid}/status").splitlines() if ":" in line)
    held = int(status["CapEff"], 16)
    assert bool(held) == bool(capabilities)
    # Of root's 41; DAC_OVERRIDE, DAC_READ_SEARCH, SETGID, SETUID, SYS_PTRACE, SYS_ADMIN, SYSLOG.
    assert {number for number in range(64) if held >> number & 1} <= {1, 2, 6, 7, 19, 21, 34}
    assert int(status["CapBnd"], 16) == held
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    assert host.run("stat", "--format=%U", f"/proc/{pid}").strip() == user


@pytest.mark.covers("sec:restart")
def test_neither_unit_brings_the_other_down(confined: Site, desk: Desk) -> None:
    host = confined.only
    host.run("systemctl", "stop", WORK)
    assert host.run("systemctl", "is-active", SERVE) == "active\n"
    described = desk.run("describe", "-i", confined.inventory, "--format", "json", "--connect-timeout", "20s").json()
    assert (described["answered"], "worker is away" in described["worker_error"]) == (True, True)
    host.run("systemctl", "start", WORK)
    until("whole again", lambda: answers(desk, confined), seconds=30.0, every=0.2)
    host.run("systemctl", "stop", SERVE)
    assert host.run("systemctl", "is-active", WORK) == "active\n"
    host.run("systemctl", "start", SERVE)
    until("whole again", lambda: answers(desk, confined), seconds=30.0, every=0.2)


@pytest.mark.covers("sec:restart")
@pytest.mark.parametrize("unit", UNITS)
def test_a_killed_one_comes_back_alone(confined: Site, desk: Desk, unit: str) -> None:
    other = (set(UNITS) - {unit}).pop()
    before = main_pid(confined.only, other)
    confined.only.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", unit)
    until("whole again", lambda: answers(desk, confined), seconds=60.0, every=0.2)
    assert main_pid(confined.only, other) == before


@pytest.mark.covers("sec:restart")
def test_the_agent_answers_again_after_its_host_restarts(confined: Site, desk: Desk) -> None:
    began = time.monotonic()
    confined.only.restart()
    until("answers", lambda: answers(desk, confined), seconds=60.0, every=0.2)
    print(f"answers {time.monotonic() - began:.1f} s after the restart began")
    states = confined.only.run("systemctl", "is-active", *UNITS)
    assert states == "active\nactive\n"


@pytest.mark.covers("sec:R7-memory")
@pytest.mark.parametrize("unit", UNITS)
def test_what_the_memory_limit_killed_comes_back_by_itself(confined: Site, desk: Desk, unit: str) -> None:
    host = confined.only
    assert host.run("systemctl", "show", "--value", "--property=MemoryMax", unit) == f"{256 << 20}\n"
    before = main_pid(host, unit)
    # A file in memory counts for who wrote it, and no kill frees it: the largest process of the unit is ended.
    fill = "for g in /sys/fs/cgroup/memory /sys/fs/cgroup; do echo $$ > $g/system.slice/$1/cgroup.procs && break; done"
    fill += "; head -c 300m /dev/zero > /run/filling"
    filled = host.tried("bash", "-c", fill, "bash", unit)
    assert filled.code != 0, "the limit held nobody back"
    host.run("rm", "/run/filling")
    until("another process", lambda: main_pid(host, unit) not in ("0", before), seconds=60.0, every=0.1)
    until("whole again", lambda: answers(desk, confined), seconds=60.0, every=0.2)


def main_pid(host: LabHost, unit: str) -> str:
    return host.run("systemctl", "show", "--value", "--property=MainPID", unit).strip()
