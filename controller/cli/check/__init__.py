"""fleetmedic check: look at every host and say what is wrong."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from controller import changes, exit_codes, moments
from controller.asking import Question
from controller.cli import looking, options, targeting
from controller.cli.check.keeping import Keeping
from controller.cli.check.once import Checking, Looked, against
from controller.cli.check.showing import PROGRAMS, Showing, Wanted
from controller.cli.options import Desk
from controller.cli.targeting import Target
from controller.inventory.origins import InventoryError
from controller.render.check_text import Again
from controller.render.escape import line
from controller.settings import SettingError
from controller.store.database import StoreError
from controller.store.runs import Run
from controller.transport.stdio import NoAgent
from controller.trust.files import TrustError

SHORTEST_INTERVAL = 2.0
LONGEST_INTERVAL = 86400.0
# What a monitoring system gets as UNKNOWN, in its own form.
SSH_ALONE = ("ssh_user", "private_key", "known_hosts")
FINDS_HOSTS = ("inventory", "inventory_backend")
TROUBLES = (InventoryError, SettingError, TrustError, NoAgent, StoreError, OSError)


@dataclass(frozen=True, slots=True)
class Against:
    """What the answer is held against: a kept run by its name, the last of the same question, or nothing."""

    name: str | None
    new: bool

    def __bool__(self) -> bool:
        return self.new or self.name is not None


@click.command(epilog=f"\b\n{exit_codes.TABLE}")
@click.argument("pattern", required=False)
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@click.option(
    "--service", "services", multiple=True, metavar="NAME", help="Only what belongs to this service (again for more)."
)
@click.option("--include", multiple=True, metavar="ID", help="Only these checks, such as 'PG-*' (again for more).")
@click.option("--exclude", multiple=True, metavar="ID", help="Not these checks (again for more).")
@options.several(options.BOUNDS)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "jsonl", "junit", "nagios"]),
    default="text",
    help="For people (text), or for programs: one document (json), a line for each host as it answers (jsonl), "
    "a CI's report (junit), or a plugin's status line and exit codes (nagios).",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option(
    "--show",
    type=click.Choice(["bad", "all"]),
    default="bad",
    help="Only what is bad or warns [default], or also each check that is well.",
)
@click.option("--new", is_flag=True, help="Only what changed since the last run of the same pattern and inventory.")
@click.option("--baseline", metavar="RUN", help="Only what changed since that run; `last` is the last one.")
@click.option("--watch", metavar="TIME", help="Ask again every so often (2s at least), and tell what changes.")
@click.option("--paste", is_flag=True, help="At most 15 plain, redacted lines, for the incident's channel.")
@click.option(
    "-t",
    "--tree",
    "--output-dir",
    "output_dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write HOST.txt and HOST.json for each host, and summary.txt and summary.json, into this folder.",
)
@click.option("--no-fold", is_flag=True, help="A line for each host, even where results are equal.")
@click.option("--strict", is_flag=True, help="Warnings add 16 to the exit code; without it they change nothing.")
@options.NO_COLOUR
@options.several(options.TRUST)
@click.option(
    "--via",
    type=click.Choice(["agent", "ssh"]),
    help="Ask the hosts' own agents [default], or bring one along over SSH for this one look, where there is none or "
    "it is dead. The deadline is then 60s where none is set.",
)
@click.option("--become", is_flag=True, help="With --via ssh: be root there by sudo, where the login is another's.")
@options.several(options.SSH)
@options.STORE
def command(
    pattern: str | None,
    services: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    form: str,
    show: str,
    new: bool,
    baseline: str | None,
    watch: str | None,
    paste: bool,
    output_dir: Path | None,
    no_fold: bool,
    strict: bool,
    no_colour: bool,
    become: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Look at every host and say what is wrong, worst first.

    \b
      fleetmedic check                              this machine
      fleetmedic check -i production.ini            every host of the inventory
      fleetmedic check 'db:!db03' -i production.ini --include 'PG-*'
      fleetmedic check --service orders --show all
      fleetmedic check --format jsonl               a line for each host as it answers
      fleetmedic check -i production.ini --new      only what changed since the last time
      fleetmedic check -i production.ini --watch 10s
      fleetmedic check db01 -i production.ini --via ssh      without its agent

    PATTERN is Ansible's: groups, hosts, globs, unions (a:b), intersections (a:&b), exclusions (a:!b).
    Without an inventory this machine is checked; with one and no PATTERN, all its hosts.
    `fleetmedic describe` lists the checks that --include and --exclude know.
    Inventory, certificates, times and store may stand in a config file instead: see `fleetmedic config show -h`.
    """
    held = Against(baseline, new)
    interval = _interval(watch)
    _refuse_odd_mix(form, held, watching=interval is not None, paste=paste)
    by_ssh = _by_ssh(flags, become=become)
    if output_dir is not None and interval is not None:
        raise click.UsageError("--output-dir is for one look: without --watch")
    wanted = Wanted("paste" if paste else form, show == "all", not no_fold, no_colour, strict)
    question = Question(include, exclude, services)
    asked = _given({"service": services, "include": include, "exclude": exclude})
    target = Target(pattern, limit, expect, allow_unmatched)
    try:
        desk = options.desk(**flags)
        if list_hosts:
            targeting.listed(looking.choose(desk, target).names)
            return 0
        with Keeping(desk) as keeping:
            target = targeting.settled(desk, target)
            narrowed = _given({"limit": target.limit})
            lenient = " --allow-unmatched" if allow_unmatched else ""
            again = _again(desk, flags, asked, become=become)
            showing = Showing(desk, wanted, replace(again, limit=f"{narrowed}{lenient}"))
            # A run is like another where it is of the same hosts.
            alike = f"{narrowed}{asked}".strip()
            chosen = looking.choose(desk, target)
            if by_ssh:
                from controller.cli.check import over_ssh  # noqa: PLC0415 - paramiko costs every other check 150 ms

                chosen = over_ssh.visited(desk, chosen, over_ssh.Login(become, _one(flags["private_key"])))
            checking = Checking(desk, chosen, question, alike, keeping, showing)
            if interval is not None:
                from controller.cli.check import watching  # noqa: PLC0415 - few ask for it

                return watching.watch(checking, showing, interval)
            return _once(checking, showing, keeping, held, output_dir)
    except TROUBLES as error:
        if form != "nagios":
            raise
        return _unknown(error)


def _interval(watch: str | None) -> float | None:
    if watch is None:
        return None
    try:
        seconds = moments.duration(watch)
    except ValueError as error:
        raise click.UsageError(f"--watch: {error}") from error
    if not SHORTEST_INTERVAL <= seconds <= LONGEST_INTERVAL:
        raise click.UsageError(f"--watch: {watch!r} must lie between 2s and 1d")
    return seconds


def _refuse_odd_mix(form: str, held: Against, *, watching: bool, paste: bool) -> None:
    """Options that can't be had together, each with what can."""
    if held.new and held.name is not None:
        raise click.UsageError("--new and --baseline: one of them")
    if paste and (form in PROGRAMS or held or watching):
        raise click.UsageError("--paste is a form of its own: without --format, --new, --baseline and --watch")
    if held and (watching or form in ("junit", "nagios")):
        raise click.UsageError("--new and --baseline go with --format text, json and jsonl, and not with --watch")
    if watching and form not in ("text", "jsonl"):
        raise click.UsageError("--watch goes with --format text and jsonl")


def _by_ssh(flags: Mapping[str, str | Sequence[str] | None], *, become: bool) -> bool:
    if flags["via"] == "ssh":
        return True
    if become or any(flags[name] for name in SSH_ALONE):
        raise click.UsageError("--become, --user, --private-key and --known-hosts go with --via ssh")
    return False


def _one(value: str | Sequence[str] | None) -> str | None:
    return value if isinstance(value, str) else None


def _again(desk: Desk, flags: Mapping[str, str | Sequence[str] | None], asked: str, *, become: bool) -> Again:
    # Without an inventory there is one host, and no name for it is needed.
    hosts = " {hosts}" if desk.sources() else ""
    wish = " --become" if become else ""
    return Again(
        f"fleetmedic check{hosts}{_given(flags)}{wish}{asked}",
        _given({name: value for name, value in flags.items() if name not in ("store", "via", *SSH_ALONE)}),
        _given({"store": flags.get("store")}),
        silent="" if flags["via"] == "ssh" else _given({name: flags.get(name) for name in FINDS_HOSTS}),
    )


def _given(flags: Mapping[str, str | Sequence[str] | None]) -> str:
    """Flags as they were given on this command, to stand behind another; begins with a blank where there are any."""
    return "".join(
        f" --{name.replace('_', '-')} {shlex.quote(item)}"
        for name, value in flags.items()
        for item in ([value] if isinstance(value, str) else value or ())
    )


def _once(checking: Checking, showing: Showing, keeping: Keeping, held: Against, folder: Path | None) -> int:
    # Before anybody is asked: a run that is not there is the caller's mistake, and this one will be the last.
    before = None
    if held.name is not None:
        before = keeping.named(held.name)
    elif held.new:
        before = keeping.last_alike(*checking.question())
    looked = checking.first(stream=not held)
    if not held:
        showing.whole(looked.run, looked.rest)
        code = looked.run.exit_code
    else:
        code = _show_changes(showing, before, looked)
    if looked.trouble:
        click.echo(f"fleetmedic: this run is not kept: {line(looked.trouble)}", err=True)
        code = code or exit_codes.OWN_ERROR
    if folder is not None:
        from controller.cli.check import filing  # noqa: PLC0415 - few ask for it

        written = filing.file(folder, looked, showing)
        code = code or written
    if showing.wanted.format == "nagios":
        from controller.render import check_nagios  # noqa: PLC0415 - few ask for it

        code = check_nagios.code(looked.run)
    return code


def _show_changes(showing: Showing, before: Run | None, looked: Looked) -> int:
    found = against(before, looked)
    code = looked.run.exit_code
    if code < exit_codes.SIGNALLED:
        code = changes.exit_code(found, strict=showing.wanted.strict)
    showing.changed(looked.run, found, looked.rest, code)
    return code


def _unknown(error: Exception) -> int:
    from controller.render import check_nagios  # noqa: PLC0415 - few ask for it

    click.echo(check_nagios.trouble(str(error)))
    return check_nagios.UNKNOWN
