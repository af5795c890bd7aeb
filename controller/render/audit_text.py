"""Records of audit logs, for people and for programs; every text in them is a host's, and hostile."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller.audit_chain import fields
from controller.render.escape import csv_cell, line
from controller.render.paper import Paper
from fleetmedic.v1.agent_pb2 import AuditResponse

TIME = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d{1,9})?Z", re.ASCII)
BAD = frozenset({"refused", "failed"})
LONGEST = 500
TEXTS = ("time", "user", "role", "method", "outcome", "detail", "request_id", "serial", "break_glass", "by")


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of one host; texts that it lacks are empty."""

    host: str
    sequence: int
    hash: bytes
    texts: Mapping[str, str]

    @property
    def order(self) -> tuple[str, str, int]:
        """By time, as far as hosts' clocks agree."""
        return self.texts["time"], self.host, self.sequence

    @property
    def bad(self) -> bool:
        return self.texts["outcome"] in BAD


def entry(host: str, message: AuditResponse) -> Entry:
    said = fields(message.record)
    texts = {name: value[:LONGEST] if isinstance(value := said.get(name), str) else "" for name in TEXTS}
    return Entry(host, message.sequence, message.hash, texts)


def write(paper: Paper, item: Entry) -> None:
    """One line: when, where, who, what, how it ended; what is bad or past the usual way is marked."""
    texts = {name: line(text) for name, text in item.texts.items()}
    found = TIME.fullmatch(item.texts["time"])
    when = f"{found[1]} {found[2]}Z" if found else "no time"
    glass = f"   {paper.paint('BREAK-GLASS', 'crit')}: {texts['break_glass']}" if item.texts["break_glass"] else ""
    outcome = texts["outcome"] or "?"
    word = outcome.upper() if item.bad else outcome
    painted = paper.paint(word, "warn") if item.bad else word
    role = f" ({texts['role']})" if texts["role"] else ""
    who = f"{texts['user'] or 'nobody known'}{role}"
    detail = f"  {texts['detail']}" if texts["detail"] else ""
    by = f"  ({texts['by']}'s word)" if texts["by"] else ""
    paper.write(f"{when}  {item.host}  {who}  {texts['method'] or '?'} {painted}{detail}{by}{glass}")


def record(item: Entry) -> Mapping[str, object]:
    """For programs."""
    return {"host": item.host, "sequence": item.sequence, "hash": item.hash.hex(), **item.texts}


def exported(host: str, message: AuditResponse) -> str:
    """A JSON line: the record as the host has it, and its hash, so that the chain can be held again."""
    text = message.record.decode("utf-8", "backslashreplace")
    made = {"host": host, "sequence": message.sequence, "hash": message.hash.hex(), "record": text}
    return json.dumps(made, ensure_ascii=True)


def csv_head() -> str:
    return ",".join(map(csv_cell, ("host", "sequence", "hash", *TEXTS)))


def csv_row(host: str, message: AuditResponse) -> str:
    """For a spreadsheet: the texts alone, each made harmless; the chain can't be held by them."""
    item = entry(host, message)
    return ",".join(map(csv_cell, (host, str(item.sequence), item.hash.hex(), *item.texts.values())))
