"""A freeze: while it lasts the agent refuses what changes its host. A file that everybody may read."""

import json
import math
from pathlib import Path

from agent import placing
from fleetmedic.v1.agent_pb2 import Freeze

FILE = "freeze.json"
LONGEST_REASON = 200
LONGEST_FILE = 4096


class BadReason(Exception):
    """No reason to give to others; the message says why."""


def checked(reason: str) -> str:
    """The reason. BadReason where it is none: it is shown to everybody, in one line."""
    if not reason.strip():
        raise BadReason("a reason is needed: others will read it")
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise BadReason(f"a reason has at most {LONGEST_REASON} characters, all of them printable")
    return reason


def begin(trust: Path, freeze: Freeze) -> None:
    """Freezes, or freezes anew with another reason. OSError where it can't be written."""
    said = {"reason": freeze.reason, "user": freeze.user, "since": freeze.since_time.ToNanoseconds() / 1e9}
    placing.place(trust / FILE, json.dumps(said).encode(), 0o644)


def end(trust: Path) -> None:
    """Thaws. OSError where the file can't be removed."""
    (trust / FILE).unlink(missing_ok=True)
    placing.sync(trust)


def read(trust: Path) -> Freeze | None:
    """The freeze that holds; None where there is none. What can't be read holds: to change nothing is the safe side."""
    try:
        with (trust / FILE).open("rb") as file:
            return _freeze(file.read(LONGEST_FILE))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Freeze(reason=f"{trust / FILE} can't be read: {error.strerror}")
    except (ValueError, TypeError, KeyError, RecursionError):
        return Freeze(reason=f"{trust / FILE} is no freeze, and no thaw")


def _freeze(text: bytes) -> Freeze:
    said = json.loads(text)
    since = float(said["since"])
    made = Freeze(reason=str(said["reason"])[:LONGEST_REASON], user=str(said["user"])[:LONGEST_REASON])
    if not math.isfinite(since) or not 0 <= since < 1e11:
        raise ValueError("no time")
    made.since_time.FromNanoseconds(int(since * 1e9))
    return made
