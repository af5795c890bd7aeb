"""A finding's first step, as whoever copies it needs it: with the hosts' names, and where they are found."""

import re
import shlex
from collections.abc import Sequence

from controller.render.escape import LONGEST, line

MOST_NAMED = 4
# Commands of ours that ask hosts; the others have no use for an inventory.
_ASKS = re.compile(r"(fleetmedic (?:check|describe|show [a-z-]+|inventory ping|agent [a-z]+|pki push)) \{host\}")


def step(advice: str, hosts: Sequence[str], fleet: str) -> str:
    """One line. `fleet`: the flags by which a command finds these hosts; it begins with a blank, or is empty."""
    names = ",".join(map(shlex.quote, hosts))
    asked = _ASKS.sub(lambda found: f"{found[1]} {{host}}{fleet}", line(advice[:LONGEST]))
    return asked.replace("{host}", names)


def silence(hosts: Sequence[str], run: str, fleet: str) -> str:
    """For hosts that gave no answer; many are named by the run, where it is kept. `fleet` as above."""
    short = shlex.quote(",".join(hosts))
    them = f"unreachable@{run}" if run and len(hosts) > MOST_NAMED else short
    return (
        f"fleetmedic agent doctor {them}{fleet}, or a look without the agents: fleetmedic check {them} --via ssh{fleet}"
    )


def fleet_of(inventory: str) -> str:
    """Those flags, from what a run keeps of its inventory; none where an earlier version kept it otherwise."""
    try:
        words = shlex.split(inventory)
    except ValueError:
        return ""
    return "".join(f" -i {shlex.quote(word)}" for word in words)
