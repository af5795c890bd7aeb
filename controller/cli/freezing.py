"""What freeze and thaw have in common: whom they tell, what is kept of it, and how it ends."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import Signals
from typing import Any, TypeVar

import click

from controller import exit_codes, fan_out, telling
from controller.cli import looking, options, standings, targeting
from controller.cli.looking import Asked
from controller.cli.options import Desk
from controller.cli.targeting import Target
from controller.endings import BROKEN, SILENT, State
from controller.inventory import connection
from controller.inventory.origins import InventoryError
from controller.render import freeze_text
from controller.render.check_json import one_line
from controller.render.check_text import counted
from controller.render.escape import line
from controller.render.freeze_text import Wish
from controller.store import database, events
from controller.store.database import StoreError
from controller.store.events import Event
from controller.telling import Told
from controller.transport import mtls
from controller.trust import files
from fleetmedic.v1.agent_pb2 import SetFreezeRequest, SetFreezeResponse

F = TypeVar("F", bound=Callable[..., Any])
LONGEST_REASON = 200
CODES = (
    "Exit codes: 0 done on every host, 2 some host refused, 4 some gave no answer (6: both), 65 no such host, 69 none "
    "answered, 77 our certificate can't be used, 130 interrupted."
)


def with_options(function: F) -> F:
    for option in reversed(
        (
            click.argument("reason"),
            click.argument("pattern", required=False),
            options.several(options.INVENTORY),
            options.several(targeting.OPTIONS),
            options.several(options.BOUNDS),
            click.option(
                "--format",
                "form",
                type=click.Choice(["text", "json"]),
                default="text",
                help="For people, or a JSON line for each host.",
            ),
            options.NO_COLOUR,
            options.several(options.TRUST),
            options.STORE,
        )
    ):
        function = option(function)
    return function


def tell(
    reason: str,
    pattern: str | None,
    *,
    frozen: bool,
    form: str,
    no_colour: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    wish = Wish(frozen, _checked(reason))
    desk = options.desk(**flags)
    if not desk.sources():
        desk.inventory()
    asked = looking.choose(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0
    began = time.monotonic()
    told, signal = _ask(desk, asked, wish)
    standings.note(desk.text("store"), freeze_text.standings(told))
    trouble = _keep(desk, asked, wish, told)
    if form == "json":
        for item in told:
            click.echo(one_line(freeze_text.record(item, wish)))
    else:
        freeze_text.body(desk.paper(no_colour=no_colour), wish, told, time.monotonic() - began)
    if trouble:
        click.echo(f"fleetmedic: this is not kept: {line(trouble)}", err=True)
    code = exit_codes.SIGNALLED + signal if signal is not None else _code(told)
    return code or (exit_codes.OWN_ERROR if trouble else 0)


def _checked(reason: str) -> str:
    """As the agents check it; asking them all to refuse is no use."""
    if not reason.strip():
        raise InventoryError("the reason is empty: others will read it")
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise InventoryError(f"the reason must be one line of at most {LONGEST_REASON} printable characters")
    return reason


def _ask(desk: Desk, asked: Asked, wish: Wish) -> tuple[list[Told[SetFreezeResponse]], Signals | None]:
    identity = files.load(desk.text("certificate"), desk.text("key"), desk.text("ca"), desk.now())
    request = SetFreezeRequest(frozen=wish.frozen, reason=wish.reason).SerializeToString()
    hosts = {connection.endpoint(host): request for host in asked.hosts if connection.has_agent(host)}
    made: dict[str, Told[SetFreezeResponse]] = {
        host.name: Told(host.name, None, connection.AGENTLESS, State.SKIPPED)
        for host in asked.hosts
        if not connection.has_agent(host)
    }
    heard: list[Signals] = []

    def interrupted(number: Signals, waiting: int) -> None:
        heard.append(number)
        looking.tell_interrupted(number, waiting)

    talking = telling.tell(mtls.SET_FREEZE, hosts, SetFreezeResponse, identity, asked.bounds, interrupted)
    made |= {item.host: item for item in fan_out.run(talking)}
    return [made[host.name] for host in asked.hosts], heard[0] if heard else None


def _keep(desk: Desk, asked: Asked, wish: Wish, told: Sequence[Told[SetFreezeResponse]]) -> str:
    """The event in the store; why not, where it can't be."""
    place = Path(desk.text("store"))
    done = [item.host for item in told if item.answer is not None]
    text = f"{wish.word} of {asked.pattern}: {len(done)} of {counted(len(told), 'host')}: {wish.reason}"
    data = {"reason": wish.reason, "hosts": done, "not": {item.host: item.cause for item in told if item.cause}}
    now = time.time()
    try:
        base = database.connect(place)
        with database.telling(place), base:
            base.execute("BEGIN IMMEDIATE")
            events.append(base, Event(now, wish.word, desk.actor(), "controller", text, data), now)
        base.close()
    except StoreError as error:
        return str(error)
    return ""


def _code(told: Sequence[Told[SetFreezeResponse]]) -> int:
    if not any(item.answer is not None or item.state in BROKEN for item in told):
        return exit_codes.NO_AGENT
    failed = any(item.state in BROKEN or item.state == State.NOT_ATTEMPTED for item in told)
    silent = any(item.state in SILENT or item.state == State.UNKNOWN for item in told)
    return exit_codes.FAILED * failed | exit_codes.UNREACHABLE * silent
