"""fleetmedic mitigate apply: a plan that was made, and exactly it."""

from collections.abc import Sequence

import click

from controller.cli import options
from controller.cli.mitigate import choices
from controller.cli.mitigate.choices import Choices


@click.command("apply", epilog=choices.CODES)
@click.argument("plan")
@options.several(choices.AGREEING)
@choices.EXPLAIN
@options.several(options.INVENTORY)
@options.several(options.BOUNDS)
@options.several(options.TRUST)
@options.STORE
def command(
    plan: str,
    yes: bool,
    confirm: str | None,
    reason: str,
    serial: str,
    max_fail: str,
    form: str,
    no_colour: bool,
    explain: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Apply a plan that `--dry-run` has made: to those hosts, and to nothing else.

    \b
      fleetmedic mitigate apply P-94QZ
      fleetmedic mitigate apply P-94QZ --yes --reason 'INC-214'

    A plan is valid for five minutes and used once. Each host refuses it where it is not any more as it was planned.
    Hosts are found by the inventory it was made with, unless another is given.
    """
    made = Choices(yes, confirm, reason, serial, max_fail, form, no_colour, explain=explain)
    # gRPC and cryptography, which help does not need.
    from controller.change.planning import Planned  # noqa: PLC0415
    from controller.cli import calls  # noqa: PLC0415
    from controller.cli.mitigate import agreeing, going, remembered  # noqa: PLC0415
    from controller.endings import State  # noqa: PLC0415
    from controller.render import plan_text  # noqa: PLC0415

    with going.store(options.desk(store=flags.get("store"))) as base:
        kept = remembered.plan(base, plan)
    desk = remembered.desk_of(kept.inventory, flags)
    asked = remembered.asked(desk, kept.pattern, [item.host for item in kept.hosts])
    planned = [
        Planned(
            item.host,
            State.FAILED if item.state == "refused" else State(item.state),
            item.cause,
            item.plan,
            item.state == "refused",
        )
        for item in kept.hosts
    ]
    proposal = going.Proposal(desk, asked, kept.name, kept.action, planned, calls.chosen(desk, asked), made)
    changing = [item.plan for item in planned if item.plan is not None and item.changes]
    if not changing:
        raise click.UsageError(f"plan {kept.name} changes no host: there is nothing to apply")
    made.batches(tuple(item.host for item in planned if item.changes))
    if form == "text":
        plan_text.body(desk.paper(no_colour=no_colour), kept.name, kept.action, planned, explain=explain)
    agreeing.need(changing, proposal.names(), yes=yes, confirm=confirm)
    return going.carry_out(proposal)
