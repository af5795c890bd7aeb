"""fleetmedic snooze: findings that are to be quiet for a while, with who, why and until when."""

import json
import random
import re
import socket
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

import click

from controller import moments
from controller.cli import options, targeting
from controller.cli.options import Desk
from controller.cli.targeting import Target
from controller.inventory.origins import InventoryError
from controller.render import check_json
from controller.render.check_text import WORDS, ago, counted, said_end, until
from controller.render.escape import line
from controller.render.host_ranges import fold
from controller.store import database, snoozes
from controller.store.snoozes import Seen, Snooze

LONGEST = 30 * 86400.0
SHORTEST = 60.0
LONGEST_REASON = 200


@click.group("snooze")
def command() -> None:
    """Findings that are to be quiet for a while: known, in somebody's hands, and not to be shown among the bad.

    \b
      fleetmedic snooze add PG-LONG-QUERY db01 --reason 'nightly report' --for 4h
      fleetmedic snooze list
      fleetmedic snooze end 7F3K

    Every check tells what is snoozed. What gets worse is shown again. Nothing is snoozed where a check could not look
    or a host gives no answer.
    """


@command.command(short_help="Snooze a finding that a check has shown.")
@click.argument("finding", metavar="ID")
@click.argument("pattern", required=False)
@click.option("--reason", required=True, metavar="TEXT", help="Why; everybody who checks will read it.")
@click.option("--for", "end", required=True, metavar="TIME", help="Such as 4h, 2d or 2026-11-24T08:00Z; at most 30d.")
@click.option("--subject", metavar="NAME", help="Only this subject of the finding, such as a database or a container.")
@options.several(options.INVENTORY)
@options.STORE
def add(
    finding: str,
    pattern: str | None,
    reason: str,
    end: str,
    subject: str | None,
    **flags: str | Sequence[str] | None,
) -> None:
    """Snooze finding ID, on the hosts where a run of the last day has it.

    \b
      fleetmedic snooze add PG-LONG-QUERY db01 --reason 'nightly report' --for 4h
      fleetmedic snooze add HOST-DISK-SPACE db -i production.ini --subject /data --for 2d --reason 'disk ordered'
      fleetmedic snooze add TLS-EXPIRY --reason 'renewed on Monday' --for 2026-11-30T12:00Z

    PATTERN is a host, or a pattern of the inventory; without it every host that has the finding.
    Without --subject all subjects of the finding are quiet on those hosts, as long as none is worse than now.
    """
    desk = options.desk(**flags)
    now = desk.now().timestamp()
    why, until_when = _reason(reason), _until(end, now)
    base = _open(desk)
    found = _seen(desk, base, finding.upper(), pattern, subject, now)
    made = Snooze(
        snoozes.new_id(base, random.SystemRandom().choice),
        finding.upper(),
        subject or "",
        why,
        desk.actor(),
        now,
        until_when,
        tuple(item.about for item in found),
    )
    _refuse_second(base, made, now)
    snoozes.add(base, made)
    names = ", ".join(sorted({item.run for item in found}))
    worst = WORDS[max(item.about.status for item in found)]
    hosts = f"{fold(made.hosts)} ({worst}, as in run {names}, {ago(now - min(item.at for item in found))} ago)"
    click.echo(f"snooze {made.id}: {line(made.finding)} on {hosts} {until(made, now)}: {line(why)}")


def _refuse_second(base: sqlite3.Connection, made: Snooze, now: float) -> None:
    """One that another already covers, and that ends no later, would change nothing."""
    hosts = set(made.hosts)
    for known in snoozes.every(base):
        same = known.finding == made.finding and known.subject in ("", made.subject)
        if same and known.end >= made.until and hosts <= set(known.hosts):
            mend = f"`fleetmedic snooze end {known.id}` first"
            raise InventoryError(f"{made.finding} is quiet there already, {until(known, now)}: {mend}")


def _reason(text: str) -> str:
    plain = " ".join(text.split())
    if not plain or len(plain) > LONGEST_REASON:
        raise click.UsageError(f"--reason: say why, in {LONGEST_REASON} characters at most")
    return plain


def _until(text: str, now: float) -> float:
    try:
        end = moments.until(text, datetime.fromtimestamp(now, UTC)).timestamp()
    except ValueError as error:
        raise click.UsageError(f"--for: {error}") from error
    if not SHORTEST <= end - now <= LONGEST:
        raise click.UsageError(f"--for: {text!r} must end between a minute and 30 days from now")
    return end


def _seen(
    desk: Desk, base: sqlite3.Connection, finding: str, pattern: str | None, subject: str | None, now: float
) -> list[Seen]:
    """Never empty. InventoryError says what is not there, with the nearest that is."""
    found = snoozes.seen(base, finding, now)
    if not found:
        close = get_close_matches(finding, snoozes.findings(base, now), n=1)
        raise InventoryError(
            f"no run of the last day has a finding {finding} that warns or is critical"
            + (f"; did you mean {close[0]}?" if close else ": look first, with `fleetmedic check`")
        )
    if pattern is not None:
        hosts = {item.about.host for item in found}
        chosen = _hosts(desk, pattern, hosts)
        found = [item for item in found if item.about.host in chosen]
        if not found:
            raise InventoryError(f"{pattern}: no run of the last day has {finding} there, but on {fold(sorted(hosts))}")
    if subject is not None:
        names = sorted({item.about.name for item in found})
        found = [item for item in found if item.about.name == subject]
        if not found:
            raise InventoryError(f"{finding} is about no {subject!r} there, but about {', '.join(names)}")
    return found


def _hosts(desk: Desk, pattern: str, known: set[str]) -> set[str]:
    """The hosts a pattern stands for; a name that a run has needs no inventory."""
    if pattern in known:
        return {pattern}
    if desk.sources():
        return set(targeting.names(desk, desk.inventory(), Target(pattern)))
    names = set(re.split(r"[,:]", pattern))
    return {socket.gethostname() if name == "localhost" else name for name in names}


@command.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that ended, too.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="For people, or one document for programs.",
)
@options.STORE
def list_snoozes(everything: bool, form: str, store: str | None) -> None:
    """What is snoozed, the next to end first.

    \b
      fleetmedic snooze list
      fleetmedic snooze list --all --format json
    """
    desk = options.desk(store=store)
    now = desk.now().timestamp()
    known = snoozes.every(_open(desk))
    shown = sorted(
        (item for item in known if everything or item.end > now), key=lambda item: (item.end <= now, item.end)
    )
    if form == "json":
        click.echo(json.dumps({"snoozes": [check_json.snooze(item) for item in shown]}, indent=2))
        return
    for item in shown:
        on = f" {line(item.subject)}" if item.subject else ""
        when = until(item, now) if item.end > now else said_end(item, now)
        since = datetime.fromtimestamp(item.begins_at, UTC)
        click.echo(
            f"{item.id}  {line(item.finding)}{on} on {fold(item.hosts)} {when}: {line(item.reason)}"
            f"   by {line(item.actor)} since {since:%Y-%m-%d %H:%MZ}"
        )
    if not shown:
        click.echo("nothing is snoozed")


@command.command()
@click.argument("identities", metavar="ID...", nargs=-1, required=True)
@options.STORE
def end(identities: tuple[str, ...], store: str | None) -> None:
    """End snoozes now: what they kept quiet is shown again. All or none.

    ID is the snooze's own, as `fleetmedic snooze list` has it.

    \b
      fleetmedic snooze end 7F3K K4TP
    """
    desk = options.desk(store=store)
    now = desk.now().timestamp()
    base = _open(desk)
    known = {item.id: item for item in snoozes.every(base)}
    ended = [_holding(known, name.upper(), now) for name in dict.fromkeys(identities)]
    snoozes.end(base, ended, desk.actor(), now)
    for item in ended:
        click.echo(f"snooze {item.id} of {line(item.finding)} on {counted(len(item.hosts), 'host')} is ended")


def _holding(known: dict[str, Snooze], name: str, now: float) -> Snooze:
    found = known.get(name)
    if found is None:
        close = get_close_matches(name, known, n=1)
        mend = f"did you mean {close[0]}?" if close else "`fleetmedic snooze list`"
        raise InventoryError(f"no snooze {name!r}; {mend}")
    if found.end <= now:
        raise InventoryError(f"snooze {found.id} {said_end(found, now)}")
    return found


def _open(desk: Desk) -> sqlite3.Connection:
    return database.connect(Path(desk.text("store")))
