"""check --watch: looks again every so often and tells what changed, one line each, until it is interrupted."""

import math
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from controller import exit_codes
from controller.cli import process
from controller.cli.check.once import Checking, Looked, against
from controller.cli.check.showing import Showing
from controller.render import changes_json, changes_text, check_json
from controller.render.check_text import counted, tally
from controller.render.escape import line


@dataclass(frozen=True, slots=True)
class Round:
    """How far the watch is; no more than the last look is held."""

    looks: int
    last: Looked


def watch(checking: Checking, showing: Showing, interval: float) -> int:
    """Ends with 130, with the error that ended it, or with 0 where nobody reads it any more; `interval` in seconds."""
    began = time.monotonic()
    first = checking.first()
    showing.whole(first.run, first.rest)
    sys.stdout.flush()
    _complain(first)
    if _interrupted(first):
        return first.run.exit_code
    at = Round(1, first)
    code = exit_codes.SIGNALLED + signal.SIGINT
    try:
        # Without a reader there is nobody to watch for.
        while not process.reader_left():
            _heartbeat(showing, at, interval)
            time.sleep(pause(time.monotonic() - began, interval))
            now = checking.again()
            if _interrupted(now):
                code = now.run.exit_code
                break
            _tell(showing, at.last, now)
            at = Round(at.looks + 1, now)
        else:
            return 0
    except process.Ended as ended:
        code = exit_codes.SIGNALLED + ended.number
    except KeyboardInterrupt:
        pass
    showing.clear()
    _end(showing, at)
    return code


def pause(passed: float, interval: float) -> float:
    """Seconds to the next look: they begin on a grid, and those that a long look has missed are left out."""
    return (math.floor(passed / interval) + 1) * interval - passed


def _tell(showing: Showing, before: Looked, now: Looked) -> None:
    showing.clear()
    found = against(before.whole, now)
    at = now.run.started_at + now.run.seconds
    if showing.wanted.format == "jsonl":
        for record in changes_json.transitions(found, now.run.id, at):
            print(check_json.one_line(record))
    else:
        changes_text.transitions(showing.paper, found, at)
        for said in changes_text.snooze_ends(now.rest, at):
            showing.paper.write(f"{datetime.fromtimestamp(at, UTC):%H:%M:%SZ} {said}")
    sys.stdout.flush()
    _complain(now)


def _complain(looked: Looked) -> None:
    if looked.trouble:
        click.echo(f"fleetmedic: this look is not kept: {line(looked.trouble)}", err=True)


def _heartbeat(showing: Showing, at: Round, interval: float) -> None:
    if showing.wanted.format == "text" and showing.paper.terminal:
        clock = datetime.fromtimestamp(at.last.run.started_at, UTC)
        showing.note(f"{clock:%H:%M:%SZ} look {at.looks}: {_state(at.last)}; every {interval:g}s, Ctrl-C ends it")


def _state(looked: Looked) -> str:
    return "  ".join(f"{count} {word}" for count, word in tally(looked.run.reports, looked.rest) if count)


def _end(showing: Showing, at: Round) -> None:
    run = at.last.run
    if showing.wanted.format == "jsonl":
        record = {"type": "end", "looks": at.looks, "run": run.id, "exit_code": run.exit_code}
        print(check_json.one_line(record))
        return
    hosts = counted(len(run.reports), "host")
    showing.paper.write(
        f"ended after {counted(at.looks, 'look')}; the last: {hosts}: {_state(at.last)}   run {run.id or 'not kept'}"
        f"   its exit code {run.exit_code}"
    )


def _interrupted(looked: Looked) -> bool:
    """A look that was broken off is no state of the fleet."""
    return looked.run.exit_code >= exit_codes.SIGNALLED
