"""Who is asked by a check, and the asking: a fleet through its inventory, or this machine."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from signal import Signals
from typing import TYPE_CHECKING

import click

from controller import asking
from controller.asking import Answers, Question
from controller.calling import Bounds
from controller.cli import process, targeting
from controller.cli.options import Desk
from controller.cli.targeting import Target
from controller.endings import State
from controller.fan_out import Interrupted
from controller.host_report import HostReport
from controller.inventory.connection import AGENTLESS, SSHLESS
from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError
from controller.transport.mtls import Identity
from controller.trust import files

if TYPE_CHECKING:
    from controller.visiting import Visits

HERE = ("all", "localhost")


@dataclass(frozen=True, slots=True)
class Asked:
    """The hosts of one pattern, chosen once; without an inventory there are none, and `here` is this machine's name.

    `inventory` is as a run keeps it. With `visits` it is over SSH that they are asked.
    """

    pattern: str
    inventory: str
    hosts: tuple[Host, ...]
    bounds: Bounds
    here: str = ""
    visits: "Visits | None" = None

    @property
    def count(self) -> int:
        return 1 if self.here else len(self.hosts)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.here,) if self.here else tuple(host.name for host in self.hosts)


def choose(desk: Desk, target: Target) -> Asked:
    """InventoryError where the inventory is wrong, the pattern fits nobody, or others are expected."""
    inventory = desk.fleet()
    target = targeting.settled(desk, target)
    # An empty pattern, as an unset variable of a script leaves it, must not mean everybody.
    asked = target.pattern if target.pattern is not None else "all" if inventory else "localhost"
    if inventory:
        return Asked(asked, inventory, targeting.hosts(desk, target), bounds(desk))
    if target.limit is not None:
        raise InventoryError(f"--limit {target.limit}: there is no inventory to narrow: give one with -i FILE")
    target.expected(1)
    name = socket.gethostname()
    if asked not in (*HERE, name):
        raise InventoryError(f"{asked}: no inventory says which host that is: give one with -i FILE")
    given = bounds(desk)
    return Asked(asked, "", (), replace(given, forks=1, deadline=given.for_one), name)


def bounds(desk: Desk) -> Bounds:
    """Of a command that asks a fleet."""
    own = desk.seconds("host_deadline") if desk.text("host_deadline") else None
    return Bounds(int(desk.text("forks")), desk.seconds("connect_timeout"), desk.seconds("deadline"), own)


def identity(desk: Desk, asked: Asked) -> Identity | None:
    """Our certificate, read anew for each look; None where no agent is called for it. TrustError where it is bad."""
    if asked.here or asked.visits is not None:
        return None
    return files.load(desk.text("certificate"), desk.text("key"), desk.text("ca"), desk.now())


def tell_interrupted(number: Signals, waiting: int) -> None:
    """What the first Ctrl-C gets, on standard error."""
    hosts = "1 host that was" if waiting == 1 else f"{waiting} hosts that were"
    waited = f"waiting for {hosts} asked; again to leave now" if waiting else "no host is waited for"
    click.echo(f"fleetmedic: {process.said(number)}: {waited}", err=True)


def look(
    asked: Asked,
    question: Question,
    trusted: Identity | None,
    watch: Callable[[HostReport], None],
    interrupted: Interrupted = tell_interrupted,
) -> Answers:
    """`watch` sees each report as it comes in."""
    if asked.visits is not None:
        return asking.check_over_ssh(asked.hosts, question, asked.visits, asked.bounds, watch, interrupted)
    if trusted is None:
        return asking.check_here(question, asked.here, asked.bounds.deadline, watch)
    return asking.check_fleet(asked.hosts, question, trusted, asked.bounds, watch, interrupted)


def refuse_bad_question(reports: Sequence[HostReport]) -> None:
    """A check or service that no host knows, or a pattern of hosts without agents, is the caller's mistake."""
    given = [report for report in reports if report.cause not in (AGENTLESS, SSHLESS)]
    if not given:
        raise InventoryError(f"{reports[0].host}{' and all others' if len(reports) > 1 else ''}: {reports[0].cause}")
    if all(report.refused for report in given):
        raise InventoryError(given[0].cause)
    if all(report.state == State.SKIPPED for report in given):
        asked, _, there = given[0].cause.partition(" here; there are ")
        known = sorted({name for report in given for name in report.cause.partition("; there are ")[2].split(", ")})
        close = get_close_matches(asked.removeprefix("no service "), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or there}"
        raise InventoryError(f"{asked} on any host; {hint}")
