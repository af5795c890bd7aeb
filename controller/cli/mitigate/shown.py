"""fleetmedic mitigate show: one action, or a plan that was made."""

import click

from controller.change.catalogue import ACTIONS
from controller.cli import options
from controller.cli.mitigate.choices import EXPLAIN


@click.command("show")
@click.argument("name")
@EXPLAIN
@options.NO_COLOUR
@options.STORE
def command(name: str, explain: bool, no_colour: bool, store: str | None) -> None:
    """What an action is for, or what a plan would do, as it was planned.

    \b
      fleetmedic mitigate show unpause-container
      fleetmedic mitigate show P-94QZ --explain
    """
    if (known := ACTIONS.get(name)) is not None:
        click.echo(f"{name}: {known.title}")
        click.echo(f"  risk    {known.risk}, usually; a host's plan may say more")
        click.echo(f"  cures   {', '.join(known.cures)}")
        click.echo(f"  such as fleetmedic mitigate {name} {known.example} --dry-run")
        return
    from controller.change.planning import Planned  # noqa: PLC0415 - protobuf, which an action's line does not need
    from controller.cli.mitigate import going, remembered  # noqa: PLC0415
    from controller.endings import State  # noqa: PLC0415
    from controller.moments import stamp  # noqa: PLC0415
    from controller.render import plan_text  # noqa: PLC0415

    desk = options.desk(store=store)
    with going.store(desk) as base:
        kept = remembered.plan(base, name)
    paper = desk.paper(no_colour=no_colour)
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
    plan_text.body(paper, kept.name, kept.action, planned, explain=explain)
    paper.write(f"made {stamp(kept.made_at)}" + (f", applied {stamp(kept.applied_at)}" if kept.applied_at else ""))
