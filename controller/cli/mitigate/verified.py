"""fleetmedic mitigate verify: the checks that an operation was to cure, again."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from controller.cli import options

if TYPE_CHECKING:
    from controller.change.judging import Verdict
    from controller.change.verifying import Looks
    from controller.endings import State
    from controller.store.plans import End, KeptOperation, KeptPlan

CODES = (
    "Exit codes: 0 cured on every host, 2 not cured, worse or not looked at, 4 some gave no answer (6: both), 65 no "
    "such operation, 77 our certificate can't be used, 130 interrupted."
)


@click.command("verify", epilog=CODES)
@click.argument("operation")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people, or JSON.")
@options.NO_COLOUR
@options.several(options.INVENTORY)
@options.several(options.BOUNDS)
@options.several(options.TRUST)
@options.STORE
def command(operation: str, form: str, no_colour: bool, **flags: str | Sequence[str] | None) -> int:
    """Look again whether an operation, or all of a plan, has cured: by the same checks, compared with before.

    \b
      fleetmedic mitigate verify O-7K2MQ4TX
      fleetmedic mitigate verify P-94QZ
    """
    # gRPC and cryptography, which help does not need.
    import time  # noqa: PLC0415

    from controller import exit_codes, fan_out  # noqa: PLC0415
    from controller.change import verifying  # noqa: PLC0415
    from controller.cli import calls  # noqa: PLC0415
    from controller.cli.mitigate import going, remembered  # noqa: PLC0415
    from controller.render import verdict_text  # noqa: PLC0415
    from controller.store import plans  # noqa: PLC0415

    with going.store(options.desk(store=flags.get("store"))) as base:
        found = remembered.operations(base, operation)
        kept = remembered.plan(base, found[0].plan)
    desk = remembered.desk_of(kept.inventory, flags)
    asked = remembered.asked(desk, kept.pattern, [item.host for item in found])
    chosen = calls.chosen(desk, asked)
    rules = {item.host: item.plan.verified_by for item in kept.hosts if item.plan is not None}
    looks = fan_out.run(
        verifying.look(
            {item.host: rules[item.host] for item in found},
            {host.name: host for host in asked.hosts},
            chosen.identity,
            asked.bounds,
        )
    )
    judged = _judged(found, kept, looks)
    with going.store(desk) as base:
        plans.end(base, kept.name, _ends(found, judged), desk.actor(), time.time())
    states = {item.host: _state(judged[item.host], answered=looks.get(item.host) is not None) for item in found}
    code = exit_codes.of_states(states.values())
    if form == "json":
        click.echo(verdict_text.document(kept.name, found, judged, code))
    else:
        verdict_text.body(desk.paper(no_colour=no_colour), judged, states, code)
    return code


def _judged(found: "Sequence[KeptOperation]", kept: "KeptPlan", looks: "Looks") -> "Mapping[str, Verdict]":
    from controller.change import judging  # noqa: PLC0415 - protobuf

    plans = {item.host: item.plan for item in kept.hosts if item.plan is not None}
    return {
        item.host: judging.judge(
            plans[item.host].verified_by,
            plans[item.host].subject,
            None if item.looked is None else item.looked.findings,
            looks.get(item.host),
        )
        for item in found
    }


def _ends(found: "Sequence[KeptOperation]", judged: "Mapping[str, Verdict]") -> "Sequence[End]":
    from controller.store import plans  # noqa: PLC0415 - sqlite3

    return [
        plans.End(item.operation_id, item.host, item.state, item.result, judged[item.host].cure.value, item.undoable)
        for item in found
        if item.state != plans.RUNNING
    ]


def _state(verdict: "Verdict", *, answered: bool) -> "State":
    from controller.endings import State  # noqa: PLC0415 - with the others

    if verdict.passed:
        return State.OK
    return State.GATE_FAILED if answered else State.UNREACHABLE
