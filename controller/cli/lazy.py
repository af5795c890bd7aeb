"""A group of commands that reads a command's file when it is called, and not when the others are listed."""

import importlib
from collections.abc import Mapping

import click

# Command: the module that has it as `command`, and its line in the help.
Parts = Mapping[str, tuple[str, str]]


class Lazy(click.Group):
    """`parts` says where each command is; the rest is click.Group's."""

    def __init__(self, *, parts: Parts, **more: object) -> None:
        # Placeholders, by which click says what was meant by a misspelt one.
        super().__init__(commands={name: click.Command(name) for name in parts}, **more)  # type: ignore[arg-type] # click's own
        self._parts = parts

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._parts)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._parts:
            return None
        found: click.Command = importlib.import_module(self._parts[cmd_name][0]).command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in self._parts.items()])
