"""From hosts to a kept plan, and from a kept plan to its end: what all commands that change hosts have in common."""

import random
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from controller import exit_codes, fan_out
from controller.calling import Bounds
from controller.change import planning, running
from controller.change.planning import Planned, Wanted
from controller.change.running import How, Item, Result
from controller.cli import calls, looking, standings
from controller.cli.calls import Chosen
from controller.cli.looking import Asked
from controller.cli.mitigate import agreeing
from controller.cli.mitigate.choices import Choices
from controller.cli.options import Desk
from controller.endings import State
from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError
from controller.render import change_json, change_text, frozen_text, plan_text
from controller.render.escape import line
from controller.store import database, plans
from controller.store.database import StoreError
from controller.store.plans import End, HostPlan, KeptPlan
from fleetmedic.v1.agent_pb2 import CheckResponse

# For what takes its time, where nobody said how long they wait.
PLANNING = 30.0
APPLYING = 180.0
CHOOSE = random.SystemRandom().choice


@contextmanager
def store(desk: Desk) -> Iterator[sqlite3.Connection]:
    """StoreError where it can't be used: without it nothing is changed."""
    place = Path(desk.text("store"))
    with closing(database.connect(place)) as base, database.telling(place):
        yield base


def bounds(desk: Desk, given: Bounds, usual: float) -> Bounds:
    return replace(given, deadline=usual) if desk.settings["deadline"].origin == "default" else given


@dataclass(slots=True)
class Proposal:
    """A plan over its hosts, and who is to be changed how."""

    desk: Desk
    asked: Asked
    name: str
    title: str
    planned: Sequence[Planned]
    chosen: Chosen
    choices: Choices
    troubles: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        """What may be typed to agree where the risk is high."""
        changed = [item.host for item in self.planned if item.changes]
        return [self.name, self.asked.pattern, *(changed if len(changed) == 1 else [])]


def propose(desk: Desk, asked: Asked, title: str, wanted: Wanted, choices: Choices) -> Proposal:
    """Asks every host, and keeps what they say. InventoryError where no host knows what is meant."""
    chosen = calls.chosen(desk, asked)
    with store(desk) as base:
        name = plans.new_name(base, CHOOSE)
    patience = bounds(desk, asked.bounds, PLANNING)
    told = fan_out.run(planning.plan(chosen.endpoints, wanted, name, chosen.identity, patience, chosen.interrupted))
    standings.note(desk.text("store"), [(item.host, item.standing) for item in told if item.standing is not None])
    made = {item.host: item for item in told}
    made |= {host: Planned(host, State.SKIPPED, why) for host, why in chosen.agentless}
    planned = [made[host.name] for host in asked.hosts]
    if all(item.state == State.SKIPPED for item in planned):
        raise InventoryError(f"{planned[0].host}{' and all others' if len(planned) > 1 else ''}: {planned[0].cause}")
    now = time.time()
    kept = KeptPlan(
        name, title, asked.pattern, asked.inventory, desk.actor(), choices.reason, now, tuple(_kept(planned))
    )
    with store(desk) as base:
        plans.add(base, kept, now)
    return Proposal(desk, asked, name, title, planned, chosen, choices)


def _kept(planned: Sequence[Planned]) -> Iterator[HostPlan]:
    for item in planned:
        state = "refused" if item.refused else item.state.value
        yield HostPlan(item.host, state, item.cause, item.plan)


def go_on(proposal: Proposal) -> int:
    """Shows the plan; applies it where that was agreed to, and it is not only to be shown."""
    choices, planned = proposal.choices, proposal.planned
    text = choices.form == "text"
    paper = proposal.desk.paper(no_colour=choices.no_colour)
    if text:
        plan_text.body(paper, proposal.name, proposal.title, planned, explain=choices.explain)
        frozen_text.write(paper, [(item.host, item.standing) for item in planned if item.standing is not None])
    changing = [item.plan for item in planned if item.plan is not None and item.changes]
    waits = any(plan.needs_approval and not plan.approvals for plan in changing)
    code = proposal.chosen.code(exit_codes.of_change((item.state for item in planned), refused=_refused(planned)))
    if choices.dry_run or not changing or proposal.chosen.signal is not None or waits:
        if waits and not choices.dry_run:
            code = code or exit_codes.REFUSED
        if not text:
            click.echo(change_json.document(proposal.name, proposal.title, planned, (), "", code))
            return code
        how = f"fleetmedic mitigate apply {proposal.name}{choices.again()}"
        paper.write("Nothing was changed." + (f"  To apply this plan:  {how}" if changing else ""))
        valid = (
            f"plan {proposal.name} is valid for {plan_text.VALID}; it is refused where the host is not as planned   "
        )
        paper.write(f"{valid if changing else ''}exit code {code}")
        return code
    # Wrong sizes before anybody agrees to them.
    choices.batches(tuple(item.host for item in planned if item.changes))
    agreeing.need(changing, proposal.names(), yes=choices.yes, confirm=choices.confirm)
    return carry_out(proposal)


def _refused(planned: Sequence[Planned]) -> bool:
    return any(item.refused for item in planned if item.state == State.FAILED)


class _Kept:
    """What the store gets to know while a change goes on."""

    def __init__(self, proposal: Proposal) -> None:
        self._desk = proposal.desk
        self._plan = proposal.name
        self._reason = proposal.choices.reason
        self._troubles = proposal.troubles

    def intend(self, items: Sequence[Item]) -> str:
        hosts = [(item.operation_id, item.host.name) for item in items]
        try:
            with store(self._desk) as base:
                plans.begin(base, self._plan, hosts, self._desk.actor(), self._reason, time.time())
        except StoreError as error:
            return f"it can't be kept: {error}"
        return ""

    def ended(self, results: Sequence[Result]) -> None:
        try:
            with store(self._desk) as base:
                plans.end(base, self._plan, [_end(item) for item in results], self._desk.actor(), time.time())
        except StoreError as error:
            # The hosts know it; `mitigate operations` brings it here.
            self._troubles.append(str(error))


def _end(item: Result) -> End:
    undoable = item.operation is not None and item.operation.HasField("undo")
    verdict = "" if item.verdict is None else item.verdict.cure.value
    looked = None if item.before is None else CheckResponse(findings=item.before, last=True)
    return End(item.operation_id, item.host, item.state.value, item.said, verdict, undoable, looked)


def carry_out(proposal: Proposal) -> int:
    """Applies what was planned. It was agreed to."""
    desk, choices = proposal.desk, proposal.choices
    with store(desk) as base:
        if not plans.claim(base, proposal.name, desk.actor(), time.time()):
            click.echo(f"fleetmedic: plan {proposal.name} was applied already: plan again", err=True)
            return exit_codes.REFUSED
    hosts = {host.name: host for host in proposal.asked.hosts}
    items = _items(proposal.planned, hosts)
    others = [item for item in proposal.planned if not item.changes]
    paper = desk.paper(no_colour=choices.no_colour)
    how = How(
        proposal.chosen.identity,
        bounds(desk, proposal.asked.bounds, APPLYING),
        choices.reason,
        choices.batches(tuple(items)),
        choices.limit(),
        [item.state for item in others],
        looking.tell_interrupted,
        _Kept(proposal),
        change_text.Looker(paper, quiet=choices.form == "json"),
    )
    course = fan_out.run(running.carry_out(items, how))
    made = {item.host: item for item in course.results}
    made |= {item.host: Result(item.host, item.state, item.cause, refused=item.refused) for item in others}
    results = [made[item.host] for item in proposal.planned]
    refused = any(item.refused for item in results if item.state == State.FAILED)
    touched = any(item.sent for item in results)
    code = exit_codes.of_change((item.state for item in results), refused=refused, touched=touched)
    if course.signal is not None:
        code = exit_codes.SIGNALLED + course.signal
    if proposal.troubles:
        click.echo(f"fleetmedic: how it ended is not kept here: {line(proposal.troubles[0])}", err=True)
        code = code or exit_codes.OWN_ERROR
    if choices.form == "json":
        click.echo(change_json.document(proposal.name, proposal.title, proposal.planned, results, course.stopped, code))
    else:
        change_text.body(paper, proposal.name, results, course.stopped, code)
    return code


def _items(planned: Sequence[Planned], hosts: Mapping[str, Host]) -> dict[str, Item]:
    return {
        item.host: Item(hosts[item.host], item.plan, plans.new_operation(CHOOSE))
        for item in planned
        if item.plan is not None and item.changes
    }
