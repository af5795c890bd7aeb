"""The lines of the audit log: HASH JSON, each hash over the one before and the JSON; pure, without a file."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FIRST = bytes(32)
LINE = re.compile(rb"([0-9a-f]{64}) (\{[^\n]*\})\n?")
# Of one text in a record, in bytes as JSON has it: what a caller names must not fill the log.
LONGEST = 500
CUT = "…"
MOST_FLAWS = 5
# A line has its hash and two signs more than its record.
HASH_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a log, or of a part of it; sequence 0 before the first."""

    sequence: int
    hash: bytes


NOTHING = Head(0, FIRST)


@dataclass(frozen=True, slots=True)
class Line:
    """A record as it stands in the log. Without a hash where the line is none; `sequence` 0 where it says none."""

    sequence: int
    hash: bytes
    record: bytes


def hashed(previous: bytes, record: bytes) -> bytes:
    return hashlib.sha256(previous + record).digest()


def written(head: Head, fields: Mapping[str, object]) -> tuple[Head, bytes]:
    """The next line after `head`, and the head that it makes."""
    bounded = {name: _bounded(value) for name, value in fields.items()}
    sequence = head.sequence + 1
    record = json.dumps({"sequence": sequence, **bounded}, separators=(",", ":")).encode()
    made = Head(sequence, hashed(head.hash, record))
    return made, made.hash.hex().encode() + b" " + record + b"\n"


def _bounded(value: object) -> object:
    if not isinstance(value, str) or (len(value) <= LONGEST and _size(value) <= LONGEST):
        return value
    left, kept = LONGEST - _size(CUT), 0
    while (left := left - _size(value[kept])) >= 0:
        kept += 1
    return value[:kept] + CUT


def _size(text: str) -> int:
    return len(json.dumps(text)) - 2


def read(line: bytes) -> Line:
    """What a line of the log is, whatever it holds."""
    found = LINE.fullmatch(line)
    if found is None:
        return Line(0, b"", line.rstrip(b"\n"))
    return Line(_number(fields(found[2]).get("sequence")), bytes.fromhex(found[1].decode()), found[2])


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63 else 0


def fields(record: bytes) -> Mapping[str, object]:
    """Empty for what is no JSON object."""
    try:
        found = json.loads(record)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def pruned(record: bytes) -> Head | None:
    """The last record that was removed for its age, where this record says that some were."""
    said = fields(record).get("pruned") if b'"pruned":' in record else None
    if not isinstance(said, list) or len(said) != 2 or not isinstance(said[1], str):
        return None
    if not re.fullmatch("[0-9a-f]{64}", said[1]) or not _number(said[0]):
        return None
    return Head(_number(said[0]), bytes.fromhex(said[1]))


class Verifier:
    """Holds lines, in their order, to the chain: an edited, missing or inserted one is a flaw."""

    def __init__(self, least_left: int) -> None:
        """Of a log without its first records `least_left` bytes must be there before it says that they were pruned."""
        self.head = NOTHING
        self._least_left = least_left
        self._bytes = 0
        self._flaws: list[str] = []
        # The first line that is there, where older ones are not, and what it must follow.
        self._first: Line | None = None
        self._excused = False

    def take(self, line: Line) -> None:
        if self.head == NOTHING and line.sequence > 1:
            self._first = line
        elif line.sequence != self.head.sequence + 1:
            said = f"record {line.sequence}" if line.sequence else "a line that is no record"
            self._flaw(f"{said} follows record {self.head.sequence}")
        elif line.hash != hashed(self.head.hash, line.record):
            self._flaw(f"record {line.sequence} is not what was written")
        first, enough = self._first, self._bytes >= self._least_left
        if first is not None and enough and not self._excused and (before := pruned(line.record)):
            self._excused = before.sequence >= first.sequence or (
                before.sequence == first.sequence - 1 and first.hash == hashed(before.hash, first.record)
            )
        self._bytes += HASH_DIGITS + 2 + len(line.record)
        if line.sequence:
            self.head = Head(line.sequence, line.hash)

    def _flaw(self, said: str) -> None:
        if len(self._flaws) < MOST_FLAWS:
            self._flaws.append(said)

    def flaws(self) -> list[str]:
        """The first few, for people; none in a whole log."""
        if self._first is None or self._excused:
            return list(self._flaws)
        missing = f"records 1 to {self._first.sequence - 1} are missing, and no later one says that they were pruned"
        return [missing, *self._flaws]


def verify(lines: Iterable[Line], least_left: int) -> Verifier:
    verifier = Verifier(least_left)
    for line in lines:
        verifier.take(line)
    return verifier
