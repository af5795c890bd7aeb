"""fleetmedic audit verify: whether the hosts' logs are whole."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from controller.audit_chain import Verdict, Verifier
from controller.auditing import Read
from controller.cli import options, targeting
from controller.cli.audit import reading
from controller.cli.options import Desk
from controller.cli.targeting import Target
from controller.endings import State
from controller.inventory.origins import InventoryError
from controller.render.check_json import one_line
from controller.render.check_text import counted, lines
from controller.render.escape import line
from controller.render.paper import Paper
from controller.store import audit_heads, database, events
from controller.store.audit_heads import Head
from controller.store.events import Event


@click.command("verify")
@reading.with_options
@click.option(
    "--begin-anew",
    metavar="REASON",
    help="These hosts were set up anew: the heads that were kept of their logs before count no more. It is recorded.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl"]),
    default="text",
    help="For people, or a JSON line for each host.",
)
@options.NO_COLOUR
def command(
    pattern: str | None,
    begin_anew: str | None,
    form: str,
    no_colour: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Whether the hosts' audit logs are whole: every hash is computed anew, and held against what earlier runs kept.

    \b
      fleetmedic audit verify -i production.ini
      fleetmedic audit verify db01 -i production.ini --begin-anew 'new disk, INC-214'

    An edited or deleted record breaks the chain. A log whose end was cut off, or that was written anew, no longer has
    the heads that checks have kept of it here (`fleetmedic check` keeps them with each run).

    Exit codes: 0 all whole, 2 some are broken, 4 some gave no answer, 69 none did, 130 interrupted.
    """
    if begin_anew is not None and not begin_anew.strip():
        raise InventoryError("--begin-anew: the reason is empty")
    desk = options.desk(**flags)
    asked = reading.chosen(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0
    place = Path(desk.text("store"))
    with contextlib.closing(database.connect(place)) as base, database.telling(place):
        if begin_anew is not None:
            now = time.time()
            with base:
                base.execute("BEGIN IMMEDIATE")
                audit_heads.set_aside(base, asked.names, now)
                text = f"audit logs of {asked.pattern} begin anew: {begin_anew}"
                data = {"hosts": list(asked.names), "reason": begin_anew}
                events.append(base, Event(now, "audit", desk.actor(), "controller", text, data), now)
        verifiers = {name: Verifier(audit_heads.every(base, name)) for name in asked.names}
        whole = reading.read(desk, asked, {name: item.take for name, item in verifiers.items()})
        verdicts = {
            read.host: verifiers[read.host].verdict(read.standing.audit_sequence)
            for read in whole.reads
            if read.state == State.OK
        }
        now = time.time()
        audit_heads.save(base, _heads(verdicts, now), _events(desk, verdicts, now), now)
    _show(desk.paper(no_colour=no_colour), whole.reads, verdicts, form)
    return whole.code(broken=any(verdict.flaws for verdict in verdicts.values()))


def _heads(verdicts: Mapping[str, Verdict], now: float) -> list[Head]:
    return [Head(host, verdict.last, verdict.hash, now, "") for host, verdict in verdicts.items() if not verdict.flaws]


def _events(desk: Desk, verdicts: Mapping[str, Verdict], now: float) -> list[Event]:
    return [
        Event(now, "audit", desk.actor(), "controller", f"audit log of {host}: {flaw}", {"host": host})
        for host, verdict in verdicts.items()
        for flaw in verdict.flaws
    ]


def _show(paper: Paper, reads: Sequence[Read], verdicts: Mapping[str, Verdict], form: str) -> None:
    if form == "jsonl":
        for read in reads:
            click.echo(one_line(_record(read, verdicts.get(read.host))))
        return
    for host, verdict in verdicts.items():
        for flaw in verdict.flaws:
            lines(paper, f"{paper.sign('crit')} BROKEN", "crit", host, f"audit log {line(flaw)}")
    reading.causes(paper, reads)
    for host, verdict in verdicts.items():
        if not verdict.flaws:
            heads = counted(verdict.heads, "kept head")
            text = f"records {verdict.first} to {verdict.last}: the chain holds, {heads} in it"
            lines(paper, f"{paper.sign('ok')} WHOLE", "ok", host, text)
    broken = sum(bool(verdict.flaws) for verdict in verdicts.values())
    silent = f", {len(reads) - len(verdicts)} not read" if len(verdicts) < len(reads) else ""
    paper.write(f"{counted(len(reads), 'host')}: {len(verdicts) - broken} whole, {broken} broken{silent}")


def _record(read: Read, verdict: Verdict | None) -> Mapping[str, object]:
    made: dict[str, object] = {"host": read.host, "state": read.state.value, "cause": read.cause}
    if verdict is None:
        return made
    return {
        **made,
        "whole": not verdict.flaws,
        "flaws": list(verdict.flaws),
        "first": verdict.first,
        "last": verdict.last,
        "hash": verdict.hash.hex(),
        "kept_heads": verdict.heads,
    }
