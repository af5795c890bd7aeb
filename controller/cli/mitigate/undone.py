"""fleetmedic mitigate undo: what undoes an operation, planned and applied as any other change."""

from collections.abc import Sequence

import click

from controller.cli import options
from controller.cli.mitigate import choices
from controller.cli.mitigate.choices import Choices


@click.command("undo", epilog=choices.CODES)
@click.argument("operation")
@choices.DRY_RUN
@options.several(choices.AGREEING)
@choices.FORCE
@choices.EXPLAIN
@options.several(options.INVENTORY)
@options.several(options.BOUNDS)
@options.several(options.TRUST)
@options.STORE
def command(
    operation: str,
    yes: bool,
    confirm: str | None,
    reason: str,
    serial: str,
    max_fail: str,
    form: str,
    no_colour: bool,
    dry_run: bool,
    force: bool,
    explain: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Undo an operation, or all operations of a plan, on the hosts where they were done.

    \b
      fleetmedic mitigate undo O-7K2MQ4TX
      fleetmedic mitigate undo P-94QZ --dry-run

    The hosts plan it of their own journals; it is shown, agreed to, applied in batches and can itself be undone.
    """
    made = Choices(yes, confirm, reason, serial, max_fail, form, no_colour, dry_run, force, explain)
    # gRPC and cryptography, which help does not need.
    from controller.change.planning import Wanted  # noqa: PLC0415
    from controller.cli.mitigate import going, remembered  # noqa: PLC0415

    with going.store(options.desk(store=flags.get("store"))) as base:
        found = [item for item in remembered.operations(base, operation) if item.undoable]
        if not found:
            raise click.UsageError(f"{operation}: nothing of it can be undone, by what is kept here")
        kept = remembered.plan(base, found[0].plan)
    desk = remembered.desk_of(kept.inventory, flags)
    asked = remembered.asked(desk, kept.pattern, [item.host for item in found])
    wanted = Wanted(None, {item.host: item.operation_id for item in found}, reason, force)
    return going.go_on(going.propose(desk, asked, f"undo {operation.upper()}: {kept.action}", wanted, made))
