"""Asks a host over SSH what kind it is, and judges whether an agent can run there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.bootstrap import bundle, host_lines
from controller.bootstrap.bundle import Facts
from controller.inventory import connection
from controller.inventory.graph import Host
from controller.ssh import Session

PATIENCE = 30.0
# The wheels, the environment made of them, and its bytecode; measured: 95 MB.
ROOM = 200 << 20
MARK = b"fleetmedic facts "
# As shells have it: not to be run, not there.
NOT_STARTED = (126, 127)
_PROGRAM = Path(__file__).with_name("facts_on_host.py")
SUDO = ("sudo", "-n", "--")


class Unsuitable(Exception):
    """An agent can't be put there; one line says why, and the mend."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there: `python` is the program to go on with, and `sudo` the words before it where we are not root.

    `installed` is the version that is current, empty for none.
    """

    facts: Facts
    python: str
    sudo: tuple[str, ...]
    installed: str


def look(session: Session, host: Host, *, leaving: bool = False) -> Seen:
    """Unsuitable names what lacks; when the agent is `leaving`, all it takes is a Python and root.

    SshError. InventoryError for an interpreter that is none.
    """
    reasons = []
    for python in interpreters(host):
        done = session.run([python, "-I", "-c", _PROGRAM.read_text()], patience=PATIENCE)
        if done.code in NOT_STARTED:
            continue
        try:
            return judged(_said(done.out), python, leaving=leaving)
        except Unsuitable as error:
            reasons.append(error)
    if reasons:
        raise reasons[0]
    raise Unsuitable("no Python: the agent needs Python 3.11 or newer (set ansible_python_interpreter if it is there)")


def interpreters(host: Host) -> Sequence[str]:
    """The inventory's, or else the system's own before whichever comes first on the path: it is there for all users."""
    given = connection.python(host)
    return (given,) if given else ("/usr/bin/python3", "python3")


def _said(out: bytes) -> Mapping[str, object]:
    """What the host says; a login shell may have printed before it."""
    _, found, said = out.partition(MARK)
    values = host_lines.said(said.partition(b"\n")[0]) if found else None
    if values is None:
        raise Unsuitable("its Python said something else than it was asked")
    return values


def judged(said: Mapping[str, object], python: str, *, leaving: bool = False) -> Seen:
    """Unsuitable, by name, unless an agent can be put there. Nothing that a host says is taken without a look."""
    facts = _kind(said)
    lacking = next((text for there, text in (*_for_all(said), *(() if leaving else _to_stay(said))) if not there), "")
    if lacking:
        raise Unsuitable(lacking)
    return Seen(facts, python, () if said.get("root") is True else SUDO, str(said.get("installed", "")))


def _kind(said: Mapping[str, object]) -> Facts:
    version, machine, libc = str(said.get("python")), str(said.get("machine")), str(said.get("libc"))
    found = bundle.PYTHON.fullmatch(version)
    if found is None or (3, int(found[1])) < bundle.OLDEST_PYTHON:
        newer = "the agent needs 3.11 or newer (ansible_python_interpreter may name one)"
        raise Unsuitable(f"Python {version} is too old: {newer}")
    if said.get("implementation") != "CPython":
        raise Unsuitable(f"its Python is {said.get('implementation')}: the agent's libraries need CPython")
    if bundle.GLIBC.fullmatch(libc) is None:
        raise Unsuitable(f"its libc is {libc}: the agent's libraries need glibc")
    if machine not in bundle.MACHINES:
        raise Unsuitable(f"its machine is {machine}: the agent runs on {' and '.join(bundle.MACHINES)}")
    return Facts(version, machine, libc)


def _for_all(said: Mapping[str, object]) -> Iterator[tuple[bool, str]]:
    """Whether each need is met, and what to say where it is not."""
    root = said.get("root") is True or said.get("sudo") is True
    yield root, "who logs in is not root, and sudo wants a password: see ansible_user, or allow it without one"


def _to_stay(said: Mapping[str, object]) -> Iterator[tuple[bool, str]]:
    free = said.get("free")
    room = free if isinstance(free, int) else 0
    yield said.get("systemd") is True, "no systemd runs there, which starts the agent"
    yield said.get("venv") is True, "its Python has no module venv: apt-get install python3-venv"
    yield said.get("useradd") is True, "useradd is missing there: apt-get install passwd"
    whose = f"other users can't run its Python {said.get('executable')}, and the agent's front is one"
    yield said.get("reachable") is True, f"{whose}: set ansible_python_interpreter, such as to /usr/bin/python3"
    yield room >= ROOM, f"too little room in /opt: {room >> 20} MB are free of {ROOM >> 20} MB that are needed"
    lost = "/etc/fleetmedic/agent.toml was written by hand, and would be lost"
    yield said.get("by_hand") is not True, f"{lost}: put its settings into the inventory and move it away"
