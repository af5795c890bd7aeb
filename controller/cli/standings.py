"""How agents stand, on every command: those that ask hosts show what they hear, the others what was heard last."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fleetmedic.v1.agent_pb2 import Standing

# These show it themselves, from the hosts' own answers.
LIVE = frozenset({"check", "show", "describe", "freeze", "thaw", "inventory ping", "agent status"})
REMINDED = "controller.cli.standings"


def marker(store: str) -> Path:
    """The file that reminds, beside the store."""
    return Path(f"{store}.frozen")


def remind(store: str) -> None:
    """A line for each freeze on standard error, once a command; where there is none it costs one look for a file."""
    context = click.get_current_context(silent=True)
    file = marker(store)
    if context is None or REMINDED in context.meta or not file.exists():
        return
    context.meta[REMINDED] = True
    if context.command_path.partition(" ")[2] in LIVE:
        return
    from controller import frozen  # noqa: PLC0415 - while something is frozen, and only then
    from controller.render import frozen_text  # noqa: PLC0415

    for said in frozen_text.reminders(frozen.read(file)):
        click.echo(f"fleetmedic: {said}", err=True)


def note(store: str, seen: "Iterable[tuple[str, Standing]]") -> None:
    """Keeps what hosts have said for the commands that ask nobody; a full disk costs them the reminder alone."""
    from controller import frozen  # noqa: PLC0415 - with the answers comes all of protobuf

    with contextlib.suppress(OSError):
        frozen.note(marker(store), {host: frozen.of(standing) for host, standing in seen})
