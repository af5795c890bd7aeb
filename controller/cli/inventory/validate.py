"""fleetmedic inventory validate: everything that is wrong in the inventory, at once."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from controller.cli import options, targeting
from controller.cli.targeting import Target
from controller.render.escape import line
from controller.render.host_ranges import fold
from controller.render.paper import Paper

if TYPE_CHECKING:
    from controller.inventory.validation import Problem, Validated

WORD_WIDTH = 6


@click.command("validate", short_help="Everything that is wrong in it, at once.")
@click.argument("pattern", default="all")
@options.several(options.INVENTORY)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
@click.option("--strict", is_flag=True, help="Warnings end with 16; without it they change nothing.")
def command(pattern: str, form: str, strict: bool, **flags: tuple[str, ...] | str | None) -> int:
    """Reads all of the inventory, and says everything that is wrong or odd for the hosts of a pattern.

    \b
      fleetmedic inventory validate -i production.ini
      fleetmedic inventory validate web -i production.ini --strict

    Exit codes: 0 nothing is wrong, 16 warnings with --strict, 65 something is wrong.
    """
    from controller import exit_codes  # noqa: PLC0415
    from controller.inventory.validation import validate  # noqa: PLC0415 - it knows all that agents are told

    desk = options.desk(**flags)
    inventory = desk.inventory()
    found = validate(inventory, targeting.names(desk, inventory, Target(pattern)))
    if form == "json":
        click.echo(json.dumps(_record(found), indent=2))
    else:
        paper = desk.paper(no_colour=True)
        _tell(paper, "ERROR", found.errors)
        _tell(paper, "WARN", found.warnings)
        parts = (_counted(found.errors, "error"), _counted(found.warnings, "warning"))
        click.echo(
            f"{found.hosts} host{'s' * (found.hosts != 1)}, {found.groups} group{'s' * (found.groups != 1)}, "
            f"{len(inventory.sources)} source{'s' * (len(inventory.sources) != 1)}: {', '.join(parts)}"
        )
    if found.errors:
        return exit_codes.BAD_DATA
    return exit_codes.WARNED if strict and found.warnings else 0


def _tell(paper: Paper, word: str, problems: "Sequence[Problem]") -> None:
    for problem in problems:
        where = f"   ({line(fold(problem.hosts))})" if problem.hosts else ""
        paper.hanging(f"{word:<{WORD_WIDTH}}", f"{line(problem.text)}{where}", WORD_WIDTH, WORD_WIDTH)


def _counted(problems: "Sequence[Problem]", word: str) -> str:
    return f"{len(problems) or 'no'} {word}{'s' * (len(problems) != 1)}"


def _record(found: "Validated") -> dict[str, object]:
    return {
        "hosts": found.hosts,
        "groups": found.groups,
        "errors": [{"text": item.text, "hosts": list(item.hosts)} for item in found.errors],
        "warnings": [{"text": item.text, "hosts": list(item.hosts)} for item in found.warnings],
    }
