"""fleetmedic audit list: the newest records of all hosts."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import click

from controller import moments
from controller.cli import options, targeting
from controller.cli.audit import reading
from controller.cli.targeting import Target
from controller.inventory.origins import InventoryError
from controller.render import audit_text
from controller.render.audit_text import Entry
from controller.render.check_json import one_line
from controller.render.check_text import counted
from fleetmedic.v1.agent_pb2 import AuditResponse

# Of each host, where a time says how far back: more is for `audit export`.
MOST = 5000


@click.command("list")
@reading.with_options
@click.option("--most", metavar="N", type=click.IntRange(1, MOST), help="Only the newest N [default: 50].")
@click.option("--since", metavar="TIME", help="Only since then: 14:30, '2 hours ago', 2024-01-15T14:30:00Z.")
@click.option("--bad", is_flag=True, help="Only what was refused or failed, or came past the usual way.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl"]),
    default="text",
    help="For people, or a JSON line for each record.",
)
@options.NO_COLOUR
def command(
    pattern: str | None,
    most: int | None,
    since: str | None,
    bad: bool,
    form: str,
    no_colour: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """The newest records of all hosts by their time, newest last: who asked what, and how it ended.

    \b
      fleetmedic audit list -i production.ini
      fleetmedic audit list db -i production.ini --since '2 hours ago' --bad

    PATTERN chooses hosts as in `fleetmedic check`. What was refused, failed, or was called with a certificate made past
    the usual way (break-glass) is marked.

    Exit codes: 0 all read, 2 some refused, 4 some gave no answer, 69 none did, 130 interrupted.
    """
    desk = options.desk(**flags)
    begin = _begin(since, desk.now())
    asked = reading.chosen(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0
    wanted = most or (MOST if since or bad else 50)
    newest = MOST if since or bad else wanted
    # No host has more of the newest over all than of its own.
    kept: dict[str, deque[Entry]] = {name: deque(maxlen=wanted) for name in asked.names}

    def take(host: str, message: AuditResponse) -> None:
        item = audit_text.entry(host, message)
        if item.texts["time"] >= begin and (not bad or item.bad or item.texts["break_glass"]):
            kept[host].append(item)

    whole = reading.read(desk, asked, {name: partial(take, name) for name in asked.names}, newest)
    shown = sorted((item for items in kept.values() for item in items), key=lambda item: item.order)[-wanted:]
    paper = desk.paper(no_colour=no_colour)
    for item in shown:
        if form == "jsonl":
            click.echo(one_line(audit_text.record(item)))
        else:
            audit_text.write(paper, item)
    reading.causes(paper if form == "text" else desk.paper(error=True), whole.reads)
    if form == "text":
        # There may be older ones.
        newest_of = "the newest " if len(shown) == wanted else ""
        paper.write(f"{newest_of}{counted(len(shown), 'record')} of {counted(len(asked.names), 'host')}")
    return whole.code()


def _begin(since: str | None, now: datetime) -> str:
    """As records have their times, which sort as text."""
    if since is None:
        return ""
    try:
        return moments.instant(since, now).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except ValueError as error:
        raise InventoryError(f"--since: {error}") from error
