"""What approve and deny have in common: somebody else's plan is shown, and one's word on it taken to its hosts."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from controller.cli import options, targeting
from controller.cli.targeting import Target

if TYPE_CHECKING:
    from controller.change.planning import Planned
    from controller.cli.calls import Chosen
    from controller.cli.looking import Asked
    from controller.cli.options import Desk

F = TypeVar("F", bound=Callable[..., Any])
LONGEST_REASON = 200
CODES = (
    "Exit codes: 0 every host that has the plan has taken the word, 2 some refused, 4 some gave no answer (6: both), "
    "64 nobody agreed, 65 no such host or plan, 77 our certificate can't be used, 130 interrupted."
)
OPTIONS = (
    click.argument("plan"),
    click.argument("pattern", required=False),
    click.option("-y", "--yes", is_flag=True, help="Without asking."),
    click.option("--reason", default="", metavar="TEXT", help="Why; who planned it will read it."),
    options.several(options.INVENTORY),
    options.several(targeting.OPTIONS),
    options.several(options.BOUNDS),
    options.NO_COLOUR,
    options.several(options.TRUST),
    options.STORE,
)


def decide(
    plan: str,
    pattern: str | None,
    *,
    approved: bool,
    yes: bool,
    reason: str,
    no_colour: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    _check(reason, needed=not approved)
    desk = options.desk(**flags)
    if not desk.sources():
        desk.inventory()
    # gRPC and cryptography, which help does not need.
    from controller import exit_codes  # noqa: PLC0415
    from controller.change.planning import Planned  # noqa: PLC0415
    from controller.cli import calls, looking  # noqa: PLC0415
    from controller.endings import State  # noqa: PLC0415
    from controller.inventory.origins import InventoryError  # noqa: PLC0415
    from controller.render import change_json, change_text, endings, plan_text  # noqa: PLC0415

    asked = looking.choose(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0
    chosen = calls.chosen(desk, asked)
    seen = _ask(asked, chosen, plan, {item.name: b"" for item in chosen.endpoints}, approved=approved, reason=reason)
    waiting = [item for item in seen.values() if item.plan is not None]
    if not waiting:
        said = next(iter(seen.values())).cause if seen else "no host has an agent"
        raise InventoryError(f"{plan}: {said}")
    paper = desk.paper(no_colour=no_colour)
    by = ", ".join(dict.fromkeys(item.plan.planned_by for item in waiting if item.plan is not None))
    title = change_json.action(waiting[0].plan) if waiting[0].plan is not None else ""
    plan_text.body(paper, plan, f"{title}, by {by},", waiting, explain=True)
    _agreed(plan, yes=yes, approved=approved)
    digests = {item.host: item.plan.digest for item in waiting if item.plan is not None}
    told = _ask(asked, chosen, plan, digests, approved=approved, reason=reason)
    word = "approved" if approved else "denied"
    without = [item for item in seen.values() if item.plan is None]
    ended = [
        *(Planned(item.host, State.CHANGED, word) if item.plan is not None else item for item in told.values()),
        *without,
        *(Planned(host, State.SKIPPED, why) for host, why in chosen.agentless),
    ]
    code = chosen.code(exit_codes.of_states(item.state for item in ended))
    endings.body(
        paper, [change_text.Line(item.host, item.state, item.cause) for item in ended], {State.CHANGED: word}, code
    )
    _keep(desk, plan, word, reason, [item.host for item in told.values() if item.plan is not None])
    return code


def _check(reason: str, *, needed: bool) -> None:
    if needed and not reason.strip():
        raise click.UsageError("--reason: who planned it wants to know why")
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise click.UsageError(f"--reason: one line of at most {LONGEST_REASON} printable characters")


def _ask(
    asked: "Asked", chosen: "Chosen", plan: str, digests: Mapping[str, bytes], *, approved: bool, reason: str
) -> "dict[str, Planned]":
    """The plans of that name by host, as they stand after the word on those whose digest is given."""
    from controller import fan_out  # noqa: PLC0415 - gRPC
    from controller.change import talking  # noqa: PLC0415
    from controller.change.planning import Planned  # noqa: PLC0415
    from controller.endings import State  # noqa: PLC0415
    from controller.transport import mtls  # noqa: PLC0415
    from fleetmedic.v1.agent_pb2 import ApproveRequest, ApproveResponse  # noqa: PLC0415

    requests = {
        endpoint: ApproveRequest(
            name=plan, digest=digests[endpoint.name], approved=approved, reason=reason
        ).SerializeToString()
        for endpoint in chosen.endpoints
        if endpoint.name in digests
    }
    told = fan_out.run(
        talking.ask(mtls.APPROVE, requests, ApproveResponse, chosen.identity, asked.bounds, chosen.interrupted)
    )
    made = {}
    for item in told:
        if item.answer is None:
            made[item.host] = Planned(item.host, item.state, item.cause, refused=item.refused)
        elif len(item.answer.plans) != 1 or not item.answer.plans[0].digest:
            cause = f"told of {len(item.answer.plans)} plans of that name, where there is one"
            made[item.host] = Planned(item.host, State.FAILED, cause)
        else:
            made[item.host] = Planned(item.host, State.OK, plan=item.answer.plans[0])
    return made


def _agreed(plan: str, *, yes: bool, approved: bool) -> None:
    word = "Approve" if approved else "Deny"
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("nothing was decided: nobody is asked where there is no terminal; --yes does it")
    if not click.confirm(f"{word} {plan}?", err=True):
        raise click.UsageError("nothing was decided")


def _keep(desk: "Desk", plan: str, word: str, reason: str, hosts: Sequence[str]) -> None:
    import time  # noqa: PLC0415

    from controller.cli.mitigate import going  # noqa: PLC0415
    from controller.store import events  # noqa: PLC0415

    data = {"plan": plan, "hosts": list(hosts), "reason": reason}
    with going.store(desk) as base, base:
        base.execute("BEGIN IMMEDIATE")
        made = events.Event(time.time(), word, desk.actor(), "controller", f"plan {plan} {word}: {reason}", data)
        events.append(base, made, time.time())
