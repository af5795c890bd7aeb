"""What a line of a log says: whether it is an error, and of which endpoint. Pure over text."""

import json
import re
import struct
from collections.abc import Iterator

from agent import redact

# Docker's frame: the stream (0 to 2), three zeros, the length of what follows.
HEADER = 8
LEVELS = frozenset({"error", "critical", "fatal", "emergency", "alert", "panic"})
LEVEL_KEYS = ("level", "severity", "levelname", "log.level", "lvl")
PATH_KEYS = ("path", "endpoint", "url", "route", "request_path", "http.path")
# As loggers write it: a word of its own, in capitals; "no ERROR" in a sentence is one too, and rare.
WORD = re.compile(r"(?:^|[\s\[({|\"'=:])(?:ERROR|CRITICAL|FATAL)(?:$|[\s\])}|\"':,;])")
# uvicorn, gunicorn and nginx write "GET /path HTTP/1.1" 500.
ACCESS = re.compile(r'"(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (\S{1,2048}) HTTP/[\d.]+"?\s+(\d{3})\b')
NAMED = re.compile(r"""["']?\b(?:path|endpoint|route)["']?\s{0,2}[:=]\s{0,2}["']?(/[^\s"',}]{0,1024})""")
SERVER_ERROR = 500
LONGEST_PATH = 120
LONGEST_PART = 40
# What no developer calls a resource: long, with digits, and with both cases.
TOKEN = re.compile(r"^(?=.*\d)(?=.*[a-z])(?=.*[A-Z]).{16,}$")
UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
HEXADECIMAL = re.compile(r"(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}")
NUMBER = re.compile(r"\d+")


def unframed(body: bytes) -> Iterator[str]:
    """Lines of an answer of the engine: framed for a container without a terminal, plain for one with."""
    text = b"".join(_frames(body)) if _is_framed(body) else body
    for line in text.split(b"\n"):
        if line:
            yield line.decode(errors="replace").rstrip("\r")


def _is_framed(body: bytes) -> bool:
    return len(body) >= HEADER and body[0] <= 2 and body[1:4] == b"\0\0\0"


def _frames(body: bytes) -> Iterator[bytes]:
    at = 0
    while at + HEADER <= len(body):
        (length,) = struct.unpack(">I", body[at + 4 : at + HEADER])
        yield body[at + HEADER : at + HEADER + length]
        at += HEADER + length


def error_path(line: str) -> str | None:
    """The endpoint of an error, "" for an error that names none, None for a line that is none."""
    if line.lstrip().startswith("{"):
        decoded = _decoded(line)
        if decoded is not None:
            return _of_record(decoded)
    if access := ACCESS.search(line):
        return shape(access[1]) if int(access[2]) >= SERVER_ERROR else None
    if not WORD.search(line):
        return None
    named = NAMED.search(line)
    return shape(named[1]) if named else ""


def _decoded(line: str) -> dict[str, object] | None:
    try:
        decoded = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _of_record(record: dict[str, object]) -> str | None:
    level = next((str(record[key]) for key in LEVEL_KEYS if record.get(key)), "")
    status = record.get("status", record.get("status_code"))
    failed = isinstance(status, int) and status >= SERVER_ERROR
    if level.lower() not in LEVELS and not failed:
        return None
    path = next((record[key] for key in PATH_KEYS if isinstance(record.get(key), str)), "")
    return shape(str(path)) if path else ""


def shape(path: str) -> str:
    """A path without query and without what differs in each request: /orders/<num>/items."""
    bare = path.partition("?")[0].partition("#")[0]
    if "://" in bare:
        bare = "/" + bare.partition("://")[2].partition("/")[2]
    # Whole parts alone: half of a token would pass for a name.
    made = ""
    for place, part in enumerate(bare.split("/")):
        longer = f"{made}/{_part(part)}" if place else _part(part)
        if len(longer) > LONGEST_PATH:
            return f"{made}/..."
        made = longer
    return made


def _part(part: str) -> str:
    if NUMBER.fullmatch(part):
        return "<num>"
    if UUID.fullmatch(part):
        return "<uuid>"
    if HEXADECIMAL.fullmatch(part):
        return "<hex>"
    # A mail address, a token, anything long: whose it is is nobody's matter here.
    strange = "@" in part or "%" in part or len(part) > LONGEST_PART or TOKEN.search(part)
    return "<text>" if strange or redact.text(part) != part else part
