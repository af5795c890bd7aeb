"""The actions as commands: fleetmedic mitigate unpause-container and the others."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from controller.change.catalogue import ACTIONS, Known
from controller.cli import options, targeting
from controller.cli.mitigate import choices
from controller.cli.mitigate.choices import Choices
from controller.cli.targeting import Target
from fleetmedic.v1.action_pb2 import (
    Action,
    FlushKeys,
    RestartContainer,
    StartContainer,
    TerminateSession,
    UnpauseContainer,
)

CONTAINER = click.option("--container", required=True, metavar="NAME", help="Its name on the host.")
SERVICE = click.option("--service", default="", metavar="NAME", help="Where a host has several of the kind.")
OWN: Mapping[str, Sequence[Any]] = {
    "terminate-session": (
        SERVICE,
        click.option(
            "--session",
            "sessions",
            multiple=True,
            metavar="PID@START",
            help="That one, as 4711@2026-11-28T10:20:00.123456Z; without it those that the lock forest says.",
        ),
    ),
    "restart-container": (CONTAINER,),
    "start-container": (CONTAINER,),
    "unpause-container": (CONTAINER,),
    "flush-keys": (
        SERVICE,
        click.option("--keys", required=True, metavar="PATTERN", help="As agent.toml has it, sign for sign."),
    ),
}


def action(name: str, own: Mapping[str, Any]) -> Action:
    """What is asked of the agents. UsageError where a value is wrong."""
    if name == "terminate-session":
        sessions = [_session(text) for text in own["sessions"]]
        return Action(terminate_session=TerminateSession(service=own["service"], sessions=sessions))
    if name == "restart-container":
        return Action(restart_container=RestartContainer(container=own["container"]))
    if name == "start-container":
        return Action(start_container=StartContainer(container=own["container"]))
    if name == "unpause-container":
        return Action(unpause_container=UnpauseContainer(container=own["container"]))
    return Action(flush_keys=FlushKeys(service=own["service"], pattern=own["keys"]))


def _session(text: str) -> TerminateSession.Session:
    pid, at, start = text.partition("@")
    try:
        when = datetime.fromisoformat(start)
        number = int(pid)
    except ValueError:
        when, number = None, 0
    if not at or when is None or when.tzinfo is None or not 0 < number < 1 << 31:
        raise click.UsageError(
            f"--session {text}: write PID@START, the start with its zone: a pid alone may be another's"
        )
    made = TerminateSession.Session(pid=number)
    made.backend_start.FromDatetime(when)
    return made


def _command(name: str, known: Known) -> click.Command:
    def run(
        pattern: str | None,
        limit: str | None,
        list_hosts: bool,
        expect: int | None,
        allow_unmatched: bool,
        **more: Any,  # noqa: ANN401 - what click gives
    ) -> int:
        own: dict[str, Any] = {
            option: more.pop(option) for option in ("container", "service", "sessions", "keys") if option in more
        }
        chosen = {word: more.pop(word) for word in Choices.__dataclass_fields__}
        made = Choices(**chosen)
        asked_for = action(name, own)
        desk = options.desk(**more)
        if not desk.sources():
            desk.inventory()
        # gRPC and cryptography, which help does not need.
        from controller.change.planning import Wanted  # noqa: PLC0415
        from controller.cli import looking  # noqa: PLC0415
        from controller.cli.mitigate import going  # noqa: PLC0415

        asked = looking.choose(desk, Target(pattern, limit, expect, allow_unmatched))
        if list_hosts:
            targeting.listed(asked.names)
            return 0
        wanted = Wanted(asked_for, {}, made.reason, made.force)
        return going.go_on(going.propose(desk, asked, title(name, own), wanted, made))

    run.__doc__ = f"""{known.title}

    \b
      fleetmedic mitigate {name} {known.example} -i production.ini --dry-run
      fleetmedic mitigate {name} {known.example} -i production.ini --yes

    Every host of PATTERN says first what would be done to it; that is shown, and applied when somebody agrees: to one
    host, then to a quarter of them at a time. After each batch {", ".join(known.cures)} is looked at again: where it
    is not cured, or worse, nobody else is touched. Takes a responder's certificate, and an [actions] table of
    agent.toml that names what may be changed.
    """
    made = run
    for option in reversed(
        (
            click.argument("pattern", required=False),
            *OWN[name],
            choices.DRY_RUN,
            options.several(choices.AGREEING),
            choices.FORCE,
            choices.EXPLAIN,
            options.several(options.INVENTORY),
            options.several(targeting.OPTIONS),
            options.several(options.BOUNDS),
            options.several(options.TRUST),
            options.STORE,
        )
    ):
        made = option(made)
    return click.command(name, epilog=choices.CODES)(made)


def title(name: str, own: Mapping[str, Any]) -> str:
    """unpause-container orders-app, as it is kept and shown."""
    values = [own.get("service", ""), own.get("container", ""), own.get("keys", ""), *own.get("sessions", ())]
    return " ".join((name, *filter(None, values)))


COMMANDS: Mapping[str, click.Command] = {name: _command(name, known) for name, known in ACTIONS.items()}
