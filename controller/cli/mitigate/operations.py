"""fleetmedic mitigate operations: what was done on hosts, by whom, and how it ended, as the hosts know it."""

import json
from collections.abc import Sequence

import click

from controller.cli import options, targeting
from controller.cli.targeting import Target

CODES = (
    "Exit codes: 0 every host has told, 2 some refused, 4 some gave no answer (6: both), 65 no such host, 77 our "
    "certificate can't be used, 130 interrupted."
)


@click.command("operations", epilog=CODES)
@click.argument("pattern", required=False)
@click.option("--since", default="1d", metavar="TIME", help="How far back, such as 2h or 2026-11-28T10:20:00Z [1d].")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people, or JSON.")
@options.NO_COLOUR
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@options.several(options.BOUNDS)
@options.several(options.TRUST)
@options.STORE
def command(
    pattern: str | None,
    since: str,
    form: str,
    no_colour: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Operations as the hosts' own journals have them: running, done, failed or interrupted, with their steps in JSON.

    \b
      fleetmedic mitigate operations all -i production.ini
      fleetmedic mitigate operations db01 -i production.ini --since 2h

    Where the end of one was not heard here, it is kept from now on.
    """
    # gRPC and cryptography, which help does not need.
    from controller import exit_codes, fan_out, moments  # noqa: PLC0415
    from controller.change import talking  # noqa: PLC0415
    from controller.cli import calls, looking  # noqa: PLC0415
    from controller.cli.mitigate import reconciling  # noqa: PLC0415
    from controller.render import change_json, operations_text  # noqa: PLC0415
    from controller.transport import mtls  # noqa: PLC0415
    from fleetmedic.v1.agent_pb2 import ListOperationsRequest, ListOperationsResponse  # noqa: PLC0415

    desk = options.desk(**flags)
    if not desk.sources():
        desk.inventory()
    try:
        after = moments.instant(since, desk.now())
    except ValueError as error:
        raise click.UsageError(f"--since: {error}") from error
    asked = looking.choose(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0
    chosen = calls.chosen(desk, asked)
    request = ListOperationsRequest()
    request.since_time.FromDatetime(after)
    told = fan_out.run(
        talking.ask(
            mtls.LIST_OPERATIONS,
            dict.fromkeys(chosen.endpoints, request.SerializeToString()),
            ListOperationsResponse,
            chosen.identity,
            asked.bounds,
            chosen.interrupted,
        )
    )
    reconciling.bring_up(desk, told)
    code = chosen.code(exit_codes.of_states(item.state for item in told))
    if form == "json":
        records = [
            change_json.operation(item.host, operation)
            for item in told
            if item.answer is not None
            for operation in item.answer.operations
        ]
        away = [
            {"host": item.host, "state": item.state.value, "cause": item.cause} for item in told if item.answer is None
        ]
        click.echo(json.dumps({"operations": records, "not_told": away, "exit_code": code}, indent=1))
    else:
        operations_text.body(desk.paper(no_colour=no_colour), told, chosen.agentless, code)
    return code
