"""Asks our own command, in this process: the one place that knows how it is called."""

import contextlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controller.cli import main
from tests.fuzz.inventory.drawn import Question

USAGE = 64
REFUSED = 65


@dataclass(frozen=True)
class Answer:
    """What the command said; `message` is its standard error without warnings if it failed."""

    exit_code: int
    message: str
    listing: dict[str, Any] | None = None
    hosts: tuple[str, ...] = ()

    @property
    def is_refused(self) -> bool:
        """Whether it is refused as it should be: with 65 and one printable line."""
        return self.exit_code == REFUSED and self.message.isprintable() and bool(self.message)


def listing(sources: Sequence[str], *, export: bool = False) -> Answer:
    """`fleetmedic inventory list`."""
    code, out, errors = _run(["inventory", "list", *_named(sources), *(["--export"] if export else [])])
    return Answer(code, _message(code, errors), json.loads(out) if code == 0 else None)


def hosts(sources: Sequence[str], question: Question) -> Answer:
    """`fleetmedic inventory hosts PATTERN`."""
    limit = [] if question.limit is None else ["--limit", question.limit]
    code, out, errors = _run(["inventory", "hosts", *_named(sources), *limit, "--", question.pattern])
    return Answer(code, _message(code, errors), None, tuple(out.splitlines()))


def _named(sources: Sequence[str]) -> list[str]:
    return [word for source in sources for word in ("-i", source)]


def _message(code: int, errors: str) -> str:
    if code == 0:
        return ""
    lines = [line for line in errors.splitlines() if line.startswith("fleetmedic: ")] or errors.splitlines()
    return lines[-1] if lines else ""


def _run(words: Sequence[str]) -> tuple[int, str, str]:
    out, errors = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["fleetmedic", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue(), errors.getvalue()
    finally:
        sys.argv = before
    return 0, out.getvalue(), errors.getvalue()
