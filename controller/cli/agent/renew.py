"""fleetmedic agent renew: new certificates for agents, over the connections that the old ones secure."""

from collections.abc import Sequence
from pathlib import Path

import click

from controller.cli import options, targeting
from controller.cli.targeting import Target


@click.command("renew")
@click.argument("pattern")
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@options.several(options.BOUNDS)
@click.option("--force", is_flag=True, help="Those too that are not past half their life.")
@click.option("--pki", metavar="DIR", help="The folder of the authorities, which `pki init` makes.")
@options.NO_COLOUR
@options.several(options.TRUST)
@options.STORE
def command(
    pattern: str,
    force: bool,
    no_colour: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """New certificates for agents past half their life, over the connections that the old ones secure.

    \b
      fleetmedic agent renew all -i production.ini
      fleetmedic agent renew web01 -i production.ini --force

    Each host makes a new key, which does not leave it, and gets a certificate from the authority here, under the same
    name. Needs the role admin and the folder of the authorities. A certificate that has ended can't be renewed: nobody
    reaches that agent; `fleetmedic agent install` makes it anew over SSH.

    Exit codes: 0 all hold for long enough, 2 some failed, 4 some did not answer (6: both), 65 no such host, 77 no
    authority here or our certificate can't be used, 130 interrupted.
    """
    desk = options.desk(**flags)
    if not desk.sources():
        desk.inventory()
    # gRPC and cryptography, which a list of hosts does not need.
    from controller import exit_codes, fan_out, renewing  # noqa: PLC0415
    from controller.cli import calls, looking  # noqa: PLC0415
    from controller.endings import State  # noqa: PLC0415
    from controller.render import endings  # noqa: PLC0415
    from controller.trust import authority, pairs  # noqa: PLC0415

    asked = looking.choose(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0
    folder, now = Path(desk.text("pki")), desk.now()
    # Before any host is asked: without it no host can be served.
    pairs.signing_key(pairs.pair(folder, "agent-ca").key)
    chosen = calls.chosen(desk, asked)
    how = renewing.Renewing(
        chosen.identity,
        asked.bounds,
        lambda host, request: authority.sign_agent(folder, request, host, desk.now(), actor=desk.actor()),
        now,
        force,
        chosen.interrupted,
        lambda: chosen.signal is not None,
    )
    done = fan_out.run(renewing.renew(chosen.endpoints, how))
    items = [*done, *(renewing.Renewed(name, State.SKIPPED, why) for name, why in chosen.agentless)]
    code = chosen.code(exit_codes.of_states(item.state for item in items))
    endings.body(desk.paper(no_colour=no_colour), items, {State.CHANGED: "renewed", State.OK: "not due"}, code)
    return code
