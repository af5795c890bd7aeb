"""Holds an audit log, as its agent streams it, to its chain and to every head that was kept of it before."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controller.moments import stamp
from controller.store.audit_heads import Head
from fleetmedic.v1.agent_pb2 import AuditResponse

FIRST = bytes(32)
# Told of one log: more says no more.
MOST_FLAWS = 5
# An agent prunes when it begins an eighth file of 8 MiB: so much is before the record that says so.
LEAST_LEFT = 7 * 8 * 1024 * 1024
# A line of the log has its hash and two signs more than its record.
HASH_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Verdict:
    """`flaws` are for people, and empty for a log that is whole; `first` is the oldest record that is still there."""

    first: int
    last: int
    hash: bytes
    records: int
    heads: int
    flaws: tuple[str, ...]


class Verifier:
    """Takes records in the order in which the agent sends them; `heads` by their sequence."""

    def __init__(self, heads: Sequence[Head], least_left: int = LEAST_LEFT) -> None:
        """Of a log without its first records `least_left` bytes must be there before it says that they were pruned."""
        self._heads = heads
        self._least_left = least_left
        self._wanted: dict[int, list[Head]] = {}
        for head in heads:
            self._wanted.setdefault(head.sequence, []).append(head)
        self._first: AuditResponse | None = None
        self._excused = self._attested = False
        self._bytes = 0
        self._last, self._hash = 0, FIRST
        self._records = self._fitting = 0
        self._flaws: list[str] = []

    def take(self, message: AuditResponse) -> None:
        self._records += 1
        said = _number(fields(message.record).get("sequence"))
        if not self._last and said > 1 and said == message.sequence:
            self._first = message
        else:
            self._held(message, said)
        if self._first is not None and not self._excused and self._bytes >= self._least_left:
            self._excused = _excuses(self._first, message.record)
            # A head that was kept since is no proof: whoever writes a log anew has it told by the next check.
            self._attested = self._fitting > 0
        self._bytes += HASH_DIGITS + 2 + len(message.record)
        if said:
            self._last, self._hash = said, message.hash
            self._compare(said, message.hash)

    def _held(self, message: AuditResponse, said: int) -> None:
        if not said or said != message.sequence:
            self._flaw(f"a line that is no record follows record {self._last}")
        elif said != self._last + 1:
            self._flaw(f"record {said} follows record {self._last}")
        elif message.hash != hashlib.sha256(self._hash + message.record).digest():
            self._flaw(f"record {said} is not what was written")

    def _compare(self, sequence: int, hash_: bytes) -> None:
        for head in self._wanted.get(sequence, ()):
            if head.hash == hash_:
                self._fitting += 1
            else:
                self._flaw(f"record {sequence} is not the one that it had {_when(head)}")

    def _flaw(self, said: str) -> None:
        if len(self._flaws) < MOST_FLAWS:
            self._flaws.append(said)

    def verdict(self, told: int) -> Verdict:
        """When all has come; `told` is the last record by the agent's own word."""
        first = self._first.sequence if self._first is not None else min(1, self._last)
        return Verdict(
            first, self._last, self._hash, self._records, self._fitting, tuple([*self._ends(told), *self._flaws])
        )

    def _ends(self, told: int) -> Iterator[str]:
        if self._first is not None and not self._excused:
            yield f"records 1 to {self._first.sequence - 1} are missing, and no later one says that they were pruned"
        elif self._first is not None and not self._attested:
            yield from self._unattested(self._first)
        cut = max(
            (head for head in self._heads if head.sequence > self._last), key=lambda head: head.sequence, default=None
        )
        if cut is not None:
            yield f"was cut or rewritten: had record {cut.sequence} {_when(cut)}, has {self._last}"
        elif told > self._last:
            yield f"was cut: the agent wrote record {told}, and the log ends with {self._last}"

    def _unattested(self, first: AuditResponse) -> Iterator[str]:
        """Pruning leaves so much that a head of whoever has looked for long is in it."""
        older = [head for head in self._heads if head.sequence < first.sequence]
        if older:
            had = f"had record {older[-1].sequence} {_when(older[-1])}"
            yield f"was rewritten, or not looked at for long: {had}, and has no kept head of before it was pruned"


def _when(head: Head) -> str:
    run = f" (run {head.run})" if head.run else ""
    return f"on {stamp(head.at)}{run}"


def _excuses(first: AuditResponse, record: bytes) -> bool:
    """Whether a record says that all before the first one were pruned for their age."""
    said = fields(record).get("pruned") if b'"pruned":' in record else None
    if not isinstance(said, list) or len(said) != 2 or not isinstance(said[1], str):
        return False
    last, hash_ = _number(said[0]), said[1]
    if last >= first.sequence:
        return True
    if last != first.sequence - 1 or not re.fullmatch("[0-9a-f]{64}", hash_):
        return False
    return first.hash == hashlib.sha256(bytes.fromhex(hash_) + first.record).digest()


def fields(record: bytes) -> Mapping[str, object]:
    """Of a record; empty for what is none."""
    try:
        found = json.loads(record)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63 else 0
