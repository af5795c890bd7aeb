"""What is kept of a container before anything is done to it: how it is, what it said, its processes, what it uses.

Without the values of its environment, and redacted as findings are.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from agent import log_lines, redact
from agent.action import Hand
from agent.engine import Engine, EngineError

LINES = 2000
# Of a log that has longer lines fewer are asked for, until it is read in so many bytes.
FEWER = (LINES, 200, 20)
LARGEST_LOG = 4 * 1024 * 1024
KEPT_LOG = 1024 * 1024
STOPPED = ("inspect.json", "logs.txt")
RUNNING = (*STOPPED, "top.txt", "stats.json")
# Lists that are one command line: the word after an option may be its secret.
COMMANDS = frozenset({"Args", "Cmd", "Entrypoint", "Test"})


def names(state: str) -> tuple[str, ...]:
    return RUNNING if state in ("running", "paused") else STOPPED


def keep(engine: Engine, about: Mapping[str, Any], hand: Hand, secrets: tuple[str, ...]) -> tuple[str, ...]:
    """The names under which it is kept. What the engine does not tell is no reason to do nothing, and is said."""
    identity = str(about["Id"])
    ask: Mapping[str, Callable[[], str]] = {
        "inspect.json": lambda: _json(about, secrets),
        "logs.txt": lambda: redact.text(_log(engine, identity), secrets),
        "top.txt": lambda: redact.text(_processes(engine.get(f"/containers/{identity}/top")), secrets),
        "stats.json": lambda: _json(engine.get(f"/containers/{identity}/stats?stream=false&one-shot=true"), secrets),
    }
    kept = names(str((about.get("State") or {}).get("Status", "")))
    for name in kept:
        hand.keep(name, _told(ask[name]).encode())
    return kept


def _told(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (EngineError, OSError) as error:
        return f"the engine does not tell: {redact.text(str(error)) or type(error).__name__}\n"


def _json(value: object, secrets: tuple[str, ...]) -> str:
    return json.dumps(redacted(value, secrets), indent=1)


def redacted(value: object, secrets: tuple[str, ...]) -> object:
    """The same without secrets, piece by piece, so that it stays JSON."""
    if isinstance(value, str):
        return redact.text(value, secrets)
    if isinstance(value, list):
        return [redacted(item, secrets) for item in value]
    if isinstance(value, Mapping):
        return {key: _named(str(key), item, secrets) for key, item in value.items()}
    return value


def _named(key: str, value: object, secrets: tuple[str, ...]) -> object:
    """What is under a name, which may tell that it is a secret."""
    if key == "Env" and isinstance(value, list):
        return [f"{str(item).partition('=')[0]}={redact.MASK}" for item in value]
    if key in COMMANDS and isinstance(value, list):
        return redact.text(redact.arguments(map(str, value)), secrets)
    if value and not isinstance(value, Mapping) and _tells_a_secret(key):
        return redact.MASK
    return redacted(value, secrets)


def _tells_a_secret(key: str) -> bool:
    return redact.text(f"{key}=value") != f"{key}=value"


def _log(engine: Engine, identity: str) -> str:
    """Its last lines, whole ones."""
    body = b""
    for lines in FEWER:
        body = engine.log(identity, 0, lines, LARGEST_LOG, timestamps=True)
        if len(body) < LARGEST_LOG:
            break
    text = "\n".join(log_lines.unframed(body))
    # Of a line that is cut, the rest may be a secret whose name is gone.
    return text if len(text) <= KEPT_LOG else text[-KEPT_LOG:].partition("\n")[2]


def _processes(told: object) -> str:
    """The engine's table of them, as `docker top` prints it."""
    if not isinstance(told, Mapping):
        raise EngineError("the answer is not an object")
    rows = [told.get("Titles") or [], *(told.get("Processes") or [])]
    return "\n".join("  ".join(map(str, row)) for row in rows) + "\n"
