"""What the audit commands have in common: whose logs are read, within which time, and their exit code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from signal import Signals
from typing import Any, TypeVar

import click

from controller import auditing, exit_codes, fan_out
from controller.auditing import Read, Take
from controller.calling import Bounds
from controller.cli import looking, options, standings, targeting
from controller.cli.looking import Asked
from controller.cli.options import Desk
from controller.cli.targeting import Target
from controller.endings import ACHIEVED, BROKEN, SILENT, State
from controller.inventory import connection
from controller.render.check_text import silent_line
from controller.render.paper import Paper
from controller.trust import files
from fleetmedic.v1.agent_pb2 import Standing

F = TypeVar("F", bound=Callable[..., Any])
# A whole log has up to 64 MiB.
PATIENCE = 60.0


def with_options(function: F) -> F:
    """Pattern, inventory, bounds and trust."""
    for option in reversed(
        (
            click.argument("pattern", required=False),
            options.several(options.INVENTORY),
            options.several(targeting.OPTIONS),
            options.several(options.BOUNDS),
            options.several(options.TRUST),
            options.STORE,
        )
    ):
        function = option(function)
    return function


@dataclass(frozen=True, slots=True)
class Whole:
    """How every host's reading ended, in the order of the hosts."""

    reads: Sequence[Read]
    signal: Signals | None

    def code(self, *, broken: bool = False) -> int:
        """2 where a log is broken or was refused, 4 where a host is silent, 69 where all are; 130 after Ctrl-C."""
        if self.signal is not None:
            return exit_codes.SIGNALLED + self.signal
        if not any(read.state in ACHIEVED | BROKEN for read in self.reads):
            return exit_codes.NO_AGENT
        failed = broken or any(read.state in BROKEN or read.state == State.NOT_ATTEMPTED for read in self.reads)
        silent = any(read.state in SILENT or read.state == State.UNKNOWN for read in self.reads)
        return exit_codes.FAILED * failed | exit_codes.UNREACHABLE * silent


def chosen(desk: Desk, target: Target) -> Asked:
    """InventoryError where there is no inventory: this machine's own log is root's to read."""
    if not desk.sources():
        desk.inventory()
    return looking.choose(desk, target)


def read(
    desk: Desk,
    asked: Asked,
    takes: Mapping[str, Take],
    newest: int | None = None,
    watch: Callable[[Read], None] | None = None,
) -> Whole:
    """Reads the logs of the hosts that have an agent; `takes` by host. TrustError."""
    identity = files.load(desk.text("certificate"), desk.text("key"), desk.text("ca"), desk.now())
    endpoints = {connection.endpoint(host): takes[host.name] for host in asked.hosts if connection.has_agent(host)}
    made = {
        host.name: Read(host.name, State.SKIPPED, connection.AGENTLESS, Standing(), 0)
        for host in asked.hosts
        if not connection.has_agent(host)
    }
    heard: list[Signals] = []

    def interrupted(number: Signals, waiting: int) -> None:
        heard.append(number)
        looking.tell_interrupted(number, waiting)

    found = fan_out.run(auditing.read(endpoints, newest, identity, _bounds(desk, asked), interrupted, watch))
    standings.note(desk.text("store"), [(item.host, item.standing) for item in found if item.state == State.OK])
    made |= {item.host: item for item in found}
    return Whole([made[host.name] for host in asked.hosts], heard[0] if heard else None)


def _bounds(desk: Desk, asked: Asked) -> Bounds:
    given = asked.bounds
    return replace(given, deadline=PATIENCE) if desk.settings["deadline"].origin == "default" else given


def causes(paper: Paper, reads: Sequence[Read]) -> None:
    """A line for each cause of those that could not be read."""
    groups: dict[tuple[str, State], list[str]] = {}
    for item in reads:
        if item.cause:
            groups.setdefault((item.cause, item.state), []).append(item.host)
    for (cause, state), hosts in groups.items():
        for some in [hosts] if paper.terminal else [[host] for host in hosts]:
            silent_line(paper, cause, state, some)
