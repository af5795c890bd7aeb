"""fleetmedic pki renew: a certificate again before it has ended."""

from pathlib import Path

import click

from controller.cli.pki import folder as place

AUTHORITIES = ("agent-ca", "operator-ca")


@click.command("renew", short_help="Renew a certificate by its file, or an authority's.")
@click.argument("what", metavar="FILE|agent-ca|operator-ca")
@place.OPTION
@click.option(
    "--root-key", metavar="FILE", help="For an authority: the root's key, fetched for this [default: in --dir]."
)
def command(what: str, folder: str | None, root_key: str | None) -> None:
    """Renew a certificate before it has ended: FILE under the same names, with a new key beside it.

    \b
      fleetmedic pki renew db01-tls/db01.crt
      fleetmedic pki renew agent-ca --root-key /media/offline/root-ca.key

    An authority keeps its key, so what it signed stays good; the root's key signs its new certificate. An agent that
    runs is better renewed from afar: then its key never leaves the host.
    """
    from controller.trust import renewal  # noqa: PLC0415 - 50 ms that other commands of the group don't need

    desk, at = place.opened(folder)
    if what not in AUTHORITIES:
        if root_key is not None:
            raise click.UsageError("--root-key is for agent-ca and operator-ca alone")
        pair = renewal.leaf(at, Path(what), desk.now(), actor=desk.actor())
        click.echo(f"renewed {pair.certificate.absolute()} and {pair.key.name}")
        return
    key = Path(root_key) if root_key is not None else at / "root-ca.key"
    file, ends = renewal.renew_authority(at, what, key, desk.now(), actor=desk.actor())
    click.echo(f"renewed {file.absolute()}: it ends on {ends:%Y-%m-%d}")
    if what == "agent-ca":
        click.echo("every desk needs it: `fleetmedic login` brings it")
    else:
        click.echo("every host needs it, in the place of its own, before the old one ends")
