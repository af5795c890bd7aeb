"""fleetmedic agent doctor: why an agent does not answer."""

import json
from collections.abc import Sequence

import click

from controller.cli import options, targeting
from controller.cli.targeting import Target
from controller.trust.roles import ROLES


@click.command("doctor")
@click.argument("pattern")
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@click.option("-f", "--forks", metavar="N", help="Hosts looked at at once [default: 32].")
@click.option("--role", type=click.Choice(ROLES), help="The role you need there [default: your certificate's].")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people, or JSON.")
@options.NO_COLOUR
@options.several(options.TRUST)
@options.STORE
def command(
    pattern: str,
    form: str,
    role: str | None,
    no_colour: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Why an agent does not answer: name, route, port, TLS, identity, role, version and clock, in this order.

    \b
      fleetmedic agent doctor web01 -i production.ini
      fleetmedic agent doctor unreachable@last -i production.ini
      fleetmedic agent doctor web01 -i production.ini --role admin

    The first step that fails is named with its evidence and its mend; those before it are well, and those after it
    can't be known. A host takes ten seconds at most. A worker that is away, a freeze and alarms are told as notes.

    Exit codes: 0 all well, 2 role, version, clock or a note, 4 some gave no answer (6: both), 65 no such host, 77 our
    own certificate can't be used, 130 interrupted.
    """
    # gRPC and cryptography, which a list of hosts does not need.
    from controller import fan_out  # noqa: PLC0415
    from controller.doctor import examining, ours  # noqa: PLC0415
    from controller.doctor.steps import Diagnosis, code  # noqa: PLC0415
    from controller.inventory import connection  # noqa: PLC0415
    from controller.render import doctor  # noqa: PLC0415
    from controller.render.next_step import fleet_of  # noqa: PLC0415
    from controller.trust import files  # noqa: PLC0415

    desk = options.desk(**flags)
    if not desk.sources():
        desk.inventory()
    hosts = targeting.hosts(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(host.name for host in hosts)
        return 0
    certificate, key = desk.text("certificate"), desk.text("key")
    identity = files.load(certificate, key, desk.text("ca"), desk.now())
    own = ours.read(certificate, key, identity)
    asked = [connection.endpoint(host) for host in hosts if connection.has_agent(host)]
    needed = role or own.role
    found = fan_out.run(examining.examine(asked, own, needed, int(desk.text("forks")), desk.now))
    made = {item.host: item for item in found}
    items = [made.get(host.name) or Diagnosis(host.name, skipped=connection.AGENTLESS) for host in hosts]
    whole = doctor.Examined(own, items, fleet_of(desk.fleet()), code(items))
    if form == "json":
        click.echo(json.dumps(doctor.document(whole), indent=2))
    else:
        doctor.body(desk.paper(no_colour=no_colour), whole)
    return whole.exit_code
