"""fleetmedic login: an operator's certificate for eight hours, from the bastion."""

from collections.abc import Sequence
from pathlib import Path

import click

from controller import moments, settings
from controller.cli import options, own_files
from controller.render.escape import line
from controller.settings import SettingError
from controller.trust.roles import ROLES


@click.command("login", short_help="Get an operator's certificate for eight hours.")
@click.option(
    "--role", type=click.Choice(ROLES), help="No more than this [default: what the bastion has for your SSH key]."
)
@click.option("--bastion", metavar="USER@HOST:PORT", help="Who signs [default: the setting bastion].")
@click.option("--private-key", metavar="FILE", help="Your SSH key [default: those of ssh-agent and ~/.ssh].")
@click.option(
    "--known-hosts",
    multiple=True,
    metavar="FILE",
    help="Where the bastion's host key is [default: ~/.ssh/known_hosts].",
)
def command(role: str | None, private_key: str | None, **flags: str | Sequence[str] | None) -> None:
    """Get an operator's certificate for eight hours from the bastion, by your SSH key.

    \b
      fleetmedic login
      fleetmedic login --role observer
      fleetmedic login --bastion signer@bastion.example.net --private-key ~/.ssh/id_ed25519

    The key is made here and stays here, with the certificate and the agents' authority in ~/.config/fleetmedic, where
    every command finds them. The bastion decides the role; --role asks for a lower one. Nothing renews by itself: after
    eight hours log in again. The bastion's host key must be known.
    """
    from controller import ssh  # noqa: PLC0415 - 150 ms that only those pay who log in
    from controller.trust import bastion, login  # noqa: PLC0415

    desk = options.desk(**flags)
    setting = desk.settings["bastion"]
    if not setting.value:
        raise SettingError("bastion: not set: give --bastion USER@HOST, or `bastion = ...` in the config file")
    place = bastion.place(setting.value, setting.origin)
    key = Path(private_key).expanduser() if private_key is not None else None
    at = ssh.Destination(place.host, place.host, place.port, place.user or desk.actor(), key)
    trust = ssh.Trust(tuple(Path(file) for file in desk.text("known_hosts").split("\n")), own_keys=key is None)
    now = desk.now()
    got = login.login(at, trust, settings.own_folder(desk.environment), role, now)
    left = moments.span((got.ends - now).total_seconds())
    click.echo(f"{line(got.user)} is {got.role} until {got.ends:%Y-%m-%d %H:%MZ} ({left}): {got.files.certificate}")
    click.echo("Nothing renews it: log in again then.")
    own_files.warn(desk)
