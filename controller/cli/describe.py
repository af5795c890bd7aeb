"""fleetmedic describe: which agents are there, their versions, clocks and checks."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from signal import Signals

import click

from controller import VERSION, asking, describing, exit_codes, fan_out
from controller.cli import looking, options, standings, targeting
from controller.cli.looking import Asked
from controller.cli.options import Desk
from controller.cli.targeting import Target
from controller.describing import Described
from controller.endings import State
from controller.inventory import connection
from controller.render import frozen_text
from controller.render.escape import line
from controller.trust import files
from fleetmedic.v1.agent_pb2 import DescribeResponse


@click.command()
@click.argument("pattern", required=False)
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@options.several(options.BOUNDS)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="For people, or a JSON line for each host.",
)
@options.several(options.TRUST)
@options.STORE
def command(
    pattern: str | None,
    form: str,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Which agents are there, their versions, clocks, checks, and what each looks at.

    \b
      fleetmedic describe                           this machine
      fleetmedic describe db01 -i production.ini

    PATTERN chooses hosts as in `fleetmedic check`; without it all of the inventory are asked.

    Exit codes: 0 every agent answered, 4 some did not, 69 none did, 130 interrupted.
    """
    desk = options.desk(**flags)
    asked = looking.choose(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0
    told = Told([_here(desk, asked)]) if asked.here else ask(desk, asked)
    for item in told.items:
        click.echo(json.dumps(_record(item)) if form == "json" else _text(item))
    return told.code()


@dataclass(frozen=True, slots=True)
class Told:
    """What each host of a pattern says of itself, in their order."""

    items: Sequence[Described]
    signal: Signals | None = None

    def code(self) -> int:
        """0 where all that have an agent answered, 4 where some did not, 69 where none did; 130 after Ctrl-C."""
        if self.signal is not None:
            return exit_codes.SIGNALLED + self.signal
        if not any(item.answer for item in self.items):
            return exit_codes.NO_AGENT
        silent = any(item.answer is None and item.state != State.SKIPPED for item in self.items)
        return exit_codes.UNREACHABLE if silent else 0


def ask(desk: Desk, chosen: Asked, watch: Callable[[Described], None] | None = None) -> Told:
    """Asks the hosts that were chosen; `watch` sees each as it comes in. InventoryError, TrustError."""
    hosts = chosen.hosts
    identity = files.load(desk.text("certificate"), desk.text("key"), desk.text("ca"), desk.now())
    asked = [connection.endpoint(host) for host in hosts if connection.has_agent(host)]
    made = {host.name: describing.without_agent(host.name) for host in hosts if not connection.has_agent(host)}
    for item in made.values():
        if watch is not None:
            watch(item)
    heard: list[Signals] = []

    def interrupted(number: Signals, waiting: int) -> None:
        heard.append(number)
        looking.tell_interrupted(number, waiting)

    described = fan_out.run(describing.describe(asked, identity, chosen.bounds, interrupted, watch))
    made |= {item.host: item for item in described}
    standings.note(desk.text("store"), describing.standings(described))
    return Told([made[host.name] for host in hosts], heard[0] if heard else None)


def _here(desk: Desk, asked: Asked) -> Described:
    return Described(asked.here, asking.describe_here(desk.seconds("deadline")), "")


def _text(item: Described) -> str:
    answer = item.answer
    if answer is None:
        said = item.cause if item.state == State.SKIPPED else f"no answer: {line(item.cause)}"
        return f"{item.host}  {said}"
    agent = answer.agent
    skew = "" if agent.version == VERSION else f" (this fleetmedic is {VERSION}: upgrade the older one)"
    lines = [
        f"{item.host}  agent {line(agent.version)}{skew}",
        f"  clock     {item.clock_offset:+z.1f}s against ours (within {max(0.001, item.clock_error):.3f}s)",
        f"  boot      {line(agent.boot_id)}, kernel {line(answer.kernel)}",
        f"  you are   {line(answer.role)}; methods {', '.join(map(line, answer.methods)) or 'check, describe (local)'}",
    ]
    stands = [(item.host, answer.standing)]
    lines += [f"  stands    {said}" for said in (*frozen_text.freezes(stands), *frozen_text.alarmed(stands))]
    if answer.worker_error:
        return "\n".join([*lines, f"  worker    {line(answer.worker_error)}"])
    lines.append(f"  checks    {len(answer.rules)}: {', '.join(line(rule.id) for rule in answer.rules)}")
    for target in answer.targets:
        lines.append(
            f"  looks at  {line(target.probe):<11} {line(target.service)}: {line(target.name)} ({line(target.origin)})"
        )
    return "\n".join(lines)


def _record(item: Described) -> dict[str, object]:
    answer = item.answer or DescribeResponse()
    return {
        "host": item.host,
        "answered": item.answer is not None,
        "cause": item.cause,
        "version": answer.agent.version,
        "boot_id": answer.agent.boot_id,
        "kernel": answer.kernel,
        "clock_offset": round(item.clock_offset, 4),
        "clock_error": round(item.clock_error, 4),
        "role": answer.role,
        "methods": list(answer.methods),
        "checks": {rule.id: rule.title for rule in answer.rules},
        "targets": [
            {"probe": target.probe, "service": target.service, "name": target.name, "origin": target.origin}
            for target in answer.targets
        ],
        "worker_error": answer.worker_error,
        "audit_sequence": answer.standing.audit_sequence,
        **frozen_text.standing(answer.standing),
    }
