"""The conversation with one host that gets an agent, or loses it; what is done there is on_host.py's."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from controller import VERSION
from controller.bootstrap import bundle as bundles
from controller.bootstrap import host_lines
from controller.bootstrap.bundle import Bundle
from controller.bootstrap.probing import Seen
from controller.ssh import Remote, Session, SshError

# Seconds for one step on the host, of which installing 20 wheels on a slow disk is the longest.
STEP = 330.0
# For taking the next piece of a wheel.
TAKING = 60.0
PIECE = 1 << 20
# Of one line; and of all lines, for a host is not to talk for ever.
LONGEST = 1 << 20
MOST_LINES = 200
_PROGRAM = Path(__file__).with_name("on_host.py")
# Standard input has the program first and the orders after it.
_BEGIN = """\
import os, sys
left, text = int(sys.argv[1]), b""
while left:
    piece = os.read(0, left)
    if not piece:
        sys.exit(1)
    text, left = text + piece, left - len(piece)
exec(compile(text, "on_host.py", "exec"))
"""
Progress = Callable[[str, str], None]


class Ending(StrEnum):
    """How it ended for a host; exactly one of these."""

    INSTALLED = "installed"
    UNINSTALLED = "uninstalled"
    UNCHANGED = "unchanged"
    # Nothing was begun.
    REFUSED = "refused"
    # And undone, unless the line says otherwise.
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    CANCELLED = "cancelled"


WELL = frozenset({Ending.INSTALLED, Ending.UNINSTALLED, Ending.UNCHANGED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """`said` is for people, and hostile text as all that comes from hosts; `seconds` it took."""

    host: str
    ending: Ending
    said: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Judge:
    """What the desk decides about one host: whether its certificate (PEM, empty for none) will do, the signature of a
    request (PEM), and whether its agent answers (empty), or why not."""

    will_do: Callable[[str], bool]
    sign: Callable[[bytes], bytes]
    answers: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be there. `discover`: what the agent finds goes below `config`."""

    bundle: Bundle
    config: str
    operator_ca: str
    denylist: str
    units: Mapping[str, str]
    discover: bool = False

    def message(self) -> dict[str, object]:
        hashes = bundles.hashes(self.bundle)
        return {
            "do": "install",
            "version": self.bundle.version,
            "digest": self.bundle.digest,
            "install": f"fleetmedic[agent]=={VERSION}",
            "wheels": {wheel.name: [wheel.stat().st_size, hashes[wheel.name]] for wheel in self.bundle.wheels},
            "config": self.config,
            "discover": self.discover,
            "operator_ca": self.operator_ca,
            "denylist": self.denylist,
            "units": dict(self.units),
        }


class Talk:
    """Lines of JSON to a program on a host and from it."""

    def __init__(self, host: str, remote: Remote) -> None:
        self._host = host
        self._remote = remote
        self._held = b""
        self._lines = 0

    def say(self, message: Mapping[str, object]) -> None:
        self._remote.write(json.dumps(message).encode() + b"\n", TAKING)

    def send(self, bundle: Bundle) -> None:
        for wheel in bundle.wheels:
            with wheel.open("rb") as file:
                while piece := file.read(PIECE):
                    self._remote.write(piece, TAKING)

    def hear(self) -> Mapping[str, object]:
        """The next line that is one of ours: a login shell may print before the first. SshError where none comes."""
        while True:
            if (said := host_lines.said(self._line())) is not None:
                return said

    def _line(self) -> bytes:
        while b"\n" not in self._held:
            if len(self._held) > LONGEST:
                raise SshError(self._host, "too-much", "it said more than there is to say")
            piece = self._remote.read(1 << 16, STEP)
            if not piece:
                raise SshError(self._host, "broken", self._last_words())
            self._held += piece
        line, _, self._held = self._held.partition(b"\n")
        self._lines += 1
        if self._lines > MOST_LINES:
            raise SshError(self._host, "too-much", "it said more than there is to say")
        return line

    def _last_words(self) -> str:
        said = self._remote.read_error().decode(errors="replace").strip().rpartition("\n")[2]
        return f"the program there ended before its work: {said or 'it said nothing'}"


def install(session: Session, seen: Seen, order: Order, judge: Judge, progress: Progress) -> tuple[Ending, str]:
    """Brings the host to what the order says. SshError where the connection broke: the host undoes it by itself."""
    signed = False
    with session.start(_command(seen)) as remote:
        talk = _begun(session.name, remote, order.message())
        while True:
            said = talk.hear()
            ask = said.get("ask")
            if "done" in said:
                return _ended(said)
            if ask == "wheels":
                progress(session.name, "sending")
                talk.send(order.bundle)
            elif ask == "certificate":
                talk.say({"enroll": not judge.will_do(str(said.get("has", "")))})
            elif ask == "signature" and not signed:
                signed = True
                talk.say({"chain": judge.sign(str(said.get("request", "")).encode()).decode()})
            elif ask == "verdict":
                progress(session.name, "verifying")
                why = judge.answers()
                talk.say({"well": not why, "why": f"it does not answer: {why}"})
            else:
                progress(session.name, _step(said))


def uninstall(session: Session, seen: Seen, *, purge: bool) -> tuple[Ending, str]:
    with session.start(_command(seen)) as remote:
        talk = _begun(session.name, remote, {"do": "uninstall", "purge": purge})
        while "done" not in (said := talk.hear()):
            pass
        ending, text = _ended(said)
        left = said.get("left")
        if isinstance(left, list) and left:
            text = f"left there: {', '.join(map(str, left))}"
        return ending, text


def _command(seen: Seen) -> list[str]:
    return [*seen.sudo, seen.python, "-I", "-c", _BEGIN, str(len(_PROGRAM.read_bytes()))]


def _begun(host: str, remote: Remote, order: Mapping[str, object]) -> Talk:
    talk = Talk(host, remote)
    remote.write(_PROGRAM.read_bytes(), TAKING)
    talk.say(order)
    return talk


def _step(said: Mapping[str, object]) -> str:
    """One of the words we know; anything else is not shown."""
    step = said.get("step")
    return step if isinstance(step, str) and step.isalpha() and len(step) < 20 else "working"


def _ended(said: Mapping[str, object]) -> tuple[Ending, str]:
    try:
        ending = Ending(str(said["done"]))
    except ValueError:
        return Ending.FAILED, "it said something else than how it ended"
    text = str(said.get("why", ""))
    if ending == Ending.FAILED:
        undone = "what was done is undone" if said.get("undone") is True else "undoing it failed too: install it again"
        text = f"{text}; {undone}"
    elif said.get("repaired") is True:
        text = "after an installation that was cut off"
    return ending, text
