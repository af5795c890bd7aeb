"""The command: parse, one call, render, exit code; each subcommand's file is read only when it is used."""

import os
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType

try:
    import click
except ModuleNotFoundError:
    sys.exit("fleetmedic: this environment has the agent alone: install fleetmedic with the extra [all]")

from controller import VERSION
from controller.cli import process
from controller.cli.lazy import Lazy, Parts

USAGE = 64
BAD_DATA = 65
SIGNALLED = 128
# Command: the module that has it as `command`, and its line in the help.
COMMANDS: Parts = MappingProxyType(
    {
        "check": ("controller.cli.check", "Look at every host and say what is wrong, worst first."),
        "show": (
            "controller.cli.show",
            "What agents see, as one table over all hosts: sessions, locks, containers, disk.",
        ),
        "describe": ("controller.cli.describe", "Which agents are there, their versions, clocks and checks."),
        "inventory": ("controller.cli.inventory", "What the inventory says: list, hosts, graph, host."),
        "runs": ("controller.cli.runs", "What was found before: list, show, diff."),
        "snooze": ("controller.cli.snooze", "Findings that are to be quiet for a while: add, list, end."),
        "mitigate": (
            "controller.cli.mitigate",
            "Changes that ease an incident: planned, applied in batches, proven.",
        ),
        "approve": ("controller.cli.approve", "A second person's yes to a plan."),
        "deny": ("controller.cli.deny", "A second person's no to a plan."),
        "report": ("controller.cli.report", "A post-mortem, begun from the kept runs: Markdown and JSON."),
        "scripts": ("controller.cli.scripts", "The names a runbook knows, as thin scripts: install."),
        "agent": ("controller.cli.agent", "Agents onto hosts over SSH, and off them: install, uninstall, bundle."),
        "login": ("controller.cli.login", "Get an operator's certificate for eight hours, from the bastion."),
        "pki": ("controller.cli.pki", "Authorities and certificates: init, issue, renew, revoke, list, show."),
        "freeze": ("controller.cli.freeze", "Agents refuse what changes their hosts, and every command says so."),
        "thaw": ("controller.cli.thaw", "Agents take changes again."),
        "audit": ("controller.cli.audit", "Who asked what of the agents: list, verify, export."),
        "config": ("controller.cli.config", "The settings as they stand, each with its origin."),
    }
)


@click.group(
    cls=Lazy,
    parts=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(VERSION, prog_name="fleetmedic")
@click.pass_context
def program(ctx: click.Context) -> None:
    """The medic of a fleet: asks every host at once, and says what is wrong and why.

    \b
      fleetmedic check                          this machine
      fleetmedic check web -i production.ini    the hosts of group web
      fleetmedic check -h                       more, and the exit codes
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """The console script. Every error ends as one line on standard error, and an exit code of its kind."""
    # gRPC's own log lines are for its developers; the causes are ours to say. Read when grpc is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - the edge
    process.prepare()
    click.UsageError.exit_code = USAGE
    click.BadParameter.exit_code = USAGE
    sys.exit(_run())


def _run() -> int:
    odd = next((word for word in sys.argv[1:] if not _is_text(word)), None)
    if odd is not None:
        click.echo(f"fleetmedic: {odd!r} is not UTF-8 text: rename the file, or write the word again", err=True)
        return BAD_DATA
    if (option := _without_value(sys.argv[1:])) is not None:
        mend = "write one, or leave it out"
        click.echo(f"fleetmedic: {option}: its value is empty, as an unset variable leaves it; {mend}", err=True)
        return BAD_DATA
    try:
        result = program.main(prog_name="fleetmedic", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        # click makes an Abort of what ended us.
        why = error.__cause__ if isinstance(error.__cause__, process.Ended) else error
        number = why.number if isinstance(why, process.Ended) else signal.SIGINT
        click.echo(f"fleetmedic: {process.said(number)}", err=True)
        return SIGNALLED + number
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except Exception as error:  # noqa: BLE001 - the boundary: a user never sees a traceback
        from controller.cli import trouble  # noqa: PLC0415 - only on the way out

        return trouble.tell(error)
    return result if isinstance(result, int) else 0


def _without_value(words: Sequence[str]) -> str | None:
    """An option that was given nothing: some would fall back to a default, and ask other hosts than were meant."""
    for word, following in pairwise([*words, "."]):
        if word == "--":
            return None
        if word.startswith("-") and following == "":
            return word
        if word.startswith("--") and word.endswith("="):
            return word[:-1]
    return None


def _is_text(word: str) -> bool:
    """False for bytes that are no character: they could be neither sent, kept nor shown."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
