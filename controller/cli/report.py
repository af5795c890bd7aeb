"""fleetmedic report: a post-mortem begun from what the runs saw."""

import contextlib
from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path

import click

from controller import moments, writing
from controller.cli import options
from controller.render.escape import line
from controller.reports import severity as severities
from controller.reports.severity import LEVELS, Severity

TIME = f"Such as {moments.EXAMPLES}"


@click.command(short_help="A post-mortem, begun from the kept runs: Markdown and JSON.")
@click.option("--title", required=True, metavar="TEXT", help="What broke, in a few words; the files are named by it.")
@click.option("-s", "--severity", required=True, metavar="SEV", help=f"{', '.join(LEVELS)}; P1 to P4 or 1 to 4 too.")
@click.option("--start-time", metavar="TIME", help=f"{TIME} [default: when what the first bad run saw was first seen].")
@click.option("--end-time", metavar="TIME", help="In the same forms [default: now].")
@click.option(
    "--output-dir",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder in which DATE-TITLE.md and .json are put; made where it is not there.",
)
@click.option(
    "--full", is_flag=True, help="All seven sections for SEV3 and SEV4 too, which get a short review of three."
)
@options.STORE
def command(
    title: str,
    severity: str,
    start_time: str | None,
    end_time: str | None,
    output_dir: Path,
    full: bool,
    store: str | None,
) -> None:
    """A post-mortem, begun from the kept runs: what was found where and when, its order, and the evidence.

    \b
      fleetmedic report --title "Orders time out" --severity SEV2 --output-dir ./post-mortems
      fleetmedic report --title "Cache full" -s P3 --start-time 14:30 --end-time 15:15 --output-dir .
      fleetmedic report --title "Slow" -s 2 --start-time "90 minutes ago" --output-dir . --full

    No host is asked, and no run need have been kept. What only people know is left open, after TO FILL.
    A clock time is UTC, and the last one there was. Without --start-time the first run of the 24 hours
    before the end that found something bad decides. Files that are there are not overwritten.
    """
    desk = options.desk(store=store)
    now = desk.now()
    level = _given("--severity", severity, severities.parse)
    if not line(title).strip():
        raise click.UsageError("--title: is empty: say in a few words what broke")
    start = _time("--start-time", start_time, now)
    end = _time("--end-time", end_time, now)
    if start is not None and start >= (end or now):
        until = f"--end-time {end_time}" if end else "now"
        raise click.UsageError(f"--start-time {start_time}: is not before {until}: {_iso(start)}, {_iso(end or now)}")
    _write(desk, level, title.strip(), (start, end), output_dir, light=level.light and not full)


def _given(flag: str, value: str, parse: "Callable[[str], Severity]") -> Severity:
    try:
        return parse(value)
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}") from error


def _time(flag: str, value: str | None, now: datetime) -> datetime | None:
    if value is None:
        return None
    try:
        found = moments.instant(value, now)
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}") from error
    if found > now:
        raise click.UsageError(f"{flag} {value}: is still to come (it is {_iso(now)})")
    return found


def _iso(at: datetime) -> str:
    return moments.stamp(at.timestamp())


def _write(
    desk: options.Desk,
    level: Severity,
    title: str,
    span: tuple[datetime | None, datetime | None],
    folder: Path,
    *,
    light: bool,
) -> None:
    # The store and protobuf, which a wrong flag should not wait for.
    from controller.render import incident_json, incident_markdown  # noqa: PLC0415
    from controller.reports import gathering  # noqa: PLC0415
    from controller.store import database  # noqa: PLC0415

    place = Path(desk.text("store"))
    start, end = (None if at is None else at.timestamp() for at in span)
    given = gathering.Given(title, level, start, end, light)
    with contextlib.ExitStack() as open_now:
        # One that is not there is not made: to report is to read.
        base = None
        if place.exists():
            base = open_now.enter_context(contextlib.closing(database.connect(place)))
            open_now.enter_context(database.telling(place))
        made = gathering.gather(base, given, desk.now().timestamp())
    folder.mkdir(parents=True, exist_ok=True)
    texts = {".md": incident_markdown.document(made), ".json": incident_json.document(made)}
    wanted = gathering.stem(made)
    name = _place(folder, wanted, texts)
    if name != wanted:
        click.echo(f"{wanted} was there already and is left as it is: this one is {name}")
    for suffix in texts:
        click.echo(f"wrote {(folder / name).absolute()}{suffix}")
    window = made.asked.window
    if window.start is not None:
        lasted = moments.span(window.end - window.start)
        runs = f"{len(made.runs)} run{'' if len(made.runs) == 1 else 's'}"
        click.echo(f"of {moments.stamp(window.start)} to {moments.stamp(window.end)} ({lasted}): {runs}")
    inventories = sorted({look.inventory or "this machine" for look in made.runs})
    if len(inventories) > 1:
        click.echo(f"its runs are of {len(inventories)} inventories, all in it: {', '.join(map(line, inventories))}")
    left = texts[".md"].count(incident_markdown.MARK) - 1
    click.echo(f"left for people: {left} places marked {incident_markdown.MARK}")
    if not made.runs:
        why = "there is no store" if base is None else "none was kept in this time"
        click.echo(f"no runs in it: {why} ({place}); all of it is for you to fill")


def _place(folder: Path, stem: str, texts: dict[str, str]) -> str:
    """Puts all files under one name that none of them had, and gives the name."""
    for number in count(1):
        name = stem if number == 1 else f"{stem}-{number}"
        places = [folder / f"{name}{suffix}" for suffix in texts]
        if any(place.exists() or place.is_symlink() for place in places):
            continue
        done: list[Path] = []
        try:
            for place, text in zip(places, texts.values(), strict=True):
                writing.create(place, text)
                done.append(place)
        except FileExistsError:
            # Another command took the name in this moment.
            for place in done:
                place.unlink()
            continue
        return name
    raise RuntimeError("all numbers are taken")
