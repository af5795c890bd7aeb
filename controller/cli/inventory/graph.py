"""fleetmedic inventory graph: groups and hosts as a tree."""

import click

from controller.cli import options


@click.command("graph")
@options.several(options.INVENTORY)
def command(**flags: tuple[str, ...] | str | None) -> None:
    """Groups and hosts as a tree.

    \b
      fleetmedic inventory graph -i production.ini
    """
    read = options.desk(**flags).inventory()
    click.echo("@all:")
    # By hand: groups may be nested deeper than calls.
    # What is last comes first out: children before hosts.
    waiting = [(f"@{name}:", name, 1) for name in reversed(read.groups["all"].children)]
    while waiting:
        text, name, depth = waiting.pop()
        click.echo(f"{'  |' * depth}--{text}")
        group = read.groups.get(name)
        if group and text.startswith("@"):
            waiting += [(host, "", depth + 1) for host in reversed(group.hosts)]
            waiting += [(f"@{child}:", child, depth + 1) for child in reversed(group.children)]
