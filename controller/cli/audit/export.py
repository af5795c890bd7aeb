"""fleetmedic audit export: every record, for programs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import click

from controller.cli import options, targeting
from controller.cli.audit import reading
from controller.cli.targeting import Target
from controller.render import audit_text
from fleetmedic.v1.agent_pb2 import AuditResponse

WRITE: Mapping[str, Callable[[str, AuditResponse], str]] = MappingProxyType(
    {"jsonl": audit_text.exported, "csv": audit_text.csv_row}
)


@click.command("export")
@reading.with_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    help="A JSON line for each record, with its hash, or a table for a spreadsheet.",
)
def command(
    pattern: str | None,
    form: str,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Every record of the hosts' logs, as they come: a host's own in their order, hosts mixed.

    \b
      fleetmedic audit export -i production.ini
      fleetmedic audit export db01 -i production.ini --deadline 5m --format csv

    In JSON lines `record` is the text that was hashed: SHA-256 over the hash before it and this gives `hash`.

    Exit codes: 0 all read, 2 some refused, 4 some gave no answer, 69 none did, 130 interrupted.
    """
    desk = options.desk(**flags)
    asked = reading.chosen(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0

    if form == "csv":
        print(audit_text.csv_head())

    def take(host: str, message: AuditResponse) -> None:
        print(WRITE[form](host, message))

    whole = reading.read(desk, asked, {name: partial(take, name) for name in asked.names})
    reading.causes(desk.paper(error=True), whole.reads)
    return whole.code()
