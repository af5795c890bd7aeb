"""The front's user owns the folder of its key: whatever it puts there, root neither follows it nor waits for it."""

import json
from pathlib import Path

import pytest

from controller.bootstrap import on_host
from tests.controller.bootstrap.installing import HOME, IDENTITY, SERVICES, STATE, UNITS, exists
from tests.lab.hosts import LabHost, Site

VERSION = "0.1.0-00000000"
SECRET = "/root/secret"
# Each is what the front's user runs for a file's name, $1, in its folder.
TRICKS = {
    "a link to root's secret": f'ln -s {SECRET} "$1"',
    "a link that has no end": 'ln -s /dev/zero "$1"',
    "a link to nothing": 'ln -s nowhere "$1"',
    "a pipe that nobody writes to": 'mkfifo "$1"',
    "a folder": 'mkdir -p "$1/below" && ln -s /root "$1/below/link"',
    "a folder that nobody may read": 'mkdir -p "$1/below" && chmod 0 "$1"',
    "a file of two names": 'echo x > "other-$1" && ln "other-$1" "$1"',
    "a long file": 'head -c 100000 /dev/zero > "$1"',
}
NAMES = ("agent.crt", "agent.key", "agent.crt.new", "agent.key.new", ".agent.key.new")
OWN = "umask 077 && echo key > agent.key && echo certificate > agent.crt"
DEEP = "import os\nfor _ in range(1500):\n    os.mkdir('agent.key.new')\n    os.chdir('agent.key.new')\n"


def as_root(host: LabHost, *statements: str) -> str:
    """Run them on the host after on_host.py, as root; what takes more than 40 s is a failure."""
    program = "import sys; sys.path.insert(0, '/root'); from on_host import *; import on_host"
    return host.run("timeout", "40", "/usr/bin/python3", "-c", "\n".join((program, *statements)))


def as_front(host: LabHost, script: str, *words: str) -> str:
    return host.run("sh", "-c", f"cd {IDENTITY} && {script}", "sh", *words, user="fleetmedic")


@pytest.fixture
def front(fresh_host: Site) -> LabHost:
    """Return a host with the program, the front's user and its folder, with a key and a certificate."""
    host = fresh_host.only
    host.put({"/root/on_host.py": Path(on_host.__file__).read_bytes(), SECRET: "never to be seen\n"})
    as_root(host, "on_host._user()", "on_host._folders()", "HOME.mkdir()")
    as_front(host, OWN)
    return host


def played(host: LabHost, script: str) -> None:
    as_front(host, f'for name in "$@"; do (set -- "$name"; {script}) || exit 1; done', *NAMES)


def taken_back(host: LabHost) -> None:
    as_front(host, "chmod -R u+rwx . && rm -rf -- * .agent* && " + OWN)


@pytest.mark.covers("sec:install")
def test_root_neither_follows_nor_awaits_what_the_front_put_in_its_folder(front: LabHost) -> None:
    for trick, script in TRICKS.items():
        played(front, f'rm -f "$1"; {script}')
        as_root(front, f"remember('{VERSION}')")
        kept = json.loads(front.run("cat", f"{HOME}/.undo/before.json"))["files"]
        assert [path for path in kept if path.startswith(IDENTITY)] == [], trick
        assert front.tried("grep", "-r", "never to be seen", HOME).code == 1, trick
        as_root(front, "assert recover()")
        assert front.run("find", IDENTITY, "-mindepth", "1", "-not", "-name", "other-*") == "", trick
        taken_back(front)
    assert front.run("cat", SECRET) == "never to be seen\n"
    assert front.run("stat", "-c", "%U", SECRET).strip() == "root"


@pytest.mark.covers("sec:install")
def test_what_the_front_put_there_meanwhile_is_undone_with_its_own_key_and_certificate_back(front: LabHost) -> None:
    for trick, script in TRICKS.items():
        as_root(front, f"remember('{VERSION}')")
        played(front, f'rm -f "$1"; {script}')
        as_root(front, "assert recover()")
        about = front.run("stat", "-c", "%a %U:%G %F", f"{IDENTITY}/agent.key", f"{IDENTITY}/agent.crt").splitlines()
        assert about == ["600 fleetmedic:fleetmedic regular file"] * 2, trick
        assert front.run("cat", f"{IDENTITY}/agent.key", f"{IDENTITY}/agent.crt") == "key\ncertificate\n", trick
        taken_back(front)
    assert front.run("cat", SECRET) == "never to be seen\n"


@pytest.mark.covers("sec:install")
def test_a_file_that_is_swapped_all_the_time_is_never_kept_with_another_s_content(front: LabHost) -> None:
    swap = f"""\
import os
for name in ("t", "link"):
    if os.path.lexists(name):
        os.unlink(name)
while True:
    os.symlink("{SECRET}", "t"); os.rename("t", "agent.key")
    os.link("agent.crt", "t"); os.rename("t", "agent.key")
    open("t", "w").close(); os.rename("t", "agent.key")
"""
    front.put({"/root/swap.py": swap})
    look = """\
import subprocess
there = ["/usr/bin/python3", "-c", open("/root/swap.py").read()]
swapping = subprocess.Popen(there, cwd=IDENTITY, user=USER, group=USER, extra_groups=[])
try:
    seen = [held(IDENTITY / "agent.key") for _ in range(5000)]
finally:
    swapping.kill()
there = {found for found in seen if found is not None}
assert there, "never a plain file"
print({(b"seen" in content, about.st_uid == 0) for content, about in there})
"""
    assert as_root(front, look).strip() == "{(False, False)}"


@pytest.mark.covers("sec:uninstall", "sec:install")
def test_the_front_can_t_keep_its_agent_from_being_taken_off(front: LabHost) -> None:
    """A service of its own that puts back what is taken away, and folders deeper than a program may follow."""
    as_front(front, 'python3 -c "$1"', DEEP)
    loop = f"cd {IDENTITY} && while :; do mkdir -p agent.crt.new/x; sleep 0.01; done"
    again = f"[Service]\nUser=fleetmedic\nExecStart=/bin/sh -c '{loop}'\n"
    front.put({f"{UNITS}/{SERVICES[1]}": again})
    front.run("systemctl", "daemon-reload")
    front.run("systemctl", "start", SERVICES[1])
    as_root(front, f"remember('{VERSION}')", "assert recover()")
    assert not exists(front, f"{IDENTITY}/agent.key.new")
    as_front(front, 'python3 -c "$1"', DEEP)
    as_root(front, "assert uninstall(purge=True)", "assert left() == [], left()")
    for place in (HOME, STATE, f"{UNITS}/{SERVICES[1]}"):
        assert not exists(front, place)
    assert front.tried("id", "fleetmedic").code == 1


@pytest.mark.covers("sec:install")
def test_no_other_user_can_keep_root_from_installing_and_no_lock_is_left(front: LabHost) -> None:
    hold = """\
import fcntl, os, time
os.chdir("/")
for place in ("/etc/systemd/system", "/run", "/opt/fleetmedic", "/run/fleetmedic-install.lock"):
    try:
        fcntl.flock(os.open(place, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except FileNotFoundError:
        print("not there", flush=True)
    except PermissionError:
        print("not mine", flush=True)
print("held", flush=True)
time.sleep(30)
"""
    front.put({"/root/hold.py": hold})
    look = """\
import subprocess
def nobody():
    there = ["/usr/bin/python3", "-c", open("/root/hold.py").read()]
    made = subprocess.Popen(there, stdout=subprocess.PIPE, text=True, user=USER, group=USER, extra_groups=[])
    said = []
    while "held" not in said:
        said.append(made.stdout.readline().strip())
    return made, said
first, said = nobody()
assert said == ["not there", "held"], said
with on_host._alone():
    second, said = nobody()
    assert said[-2:] == ["not mine", "held"], said
    try:
        with on_host._alone():
            raise AssertionError("two at a time")
    except Refused as error:
        print(error)
for it in (first, second):
    it.kill()
assert not LOCK.exists()
"""
    assert as_root(front, look).strip() == "another installation is under way on this host"
