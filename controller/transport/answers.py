"""From the bytes of an agent's answer to messages; what would cost too much to hold is refused before it is parsed."""

from collections.abc import Mapping
from functools import cache
from typing import TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from fleetmedic.v1.agent_pb2 import CheckResponse

M = TypeVar("M", bound=Message)

# Of one host's whole answer, all its messages together; an agent's own frames hold no more.
LARGEST = 4 * 1024 * 1024
# A field of two bytes becomes an object of a hundred: so many bytes may be nothing else.
UNCOUNTED = 64 * 1024
MOST_FIELDS = 30_000
MOST_FINDINGS = 5_000
VARINT, EIGHT_BYTES, SIZED, GROUP_BEGINS, GROUP_ENDS, FOUR_BYTES = range(6)
LONGEST_VARINT = 10
# What a field of a message means: the nested fields of those that are messages, by their tags.
Nested = Mapping[int, Descriptor]


class TooMuch(Exception):
    """An agent sent more than an answer may hold; the message says of what."""


class Intake:
    """What one host has sent so far."""

    def __init__(self) -> None:
        self._bytes = 0
        self._fields = 0
        self._findings = 0

    def read(self, kind: type[M], data: bytes) -> M:
        """The message that `data` is. TooMuch before it is parsed; DecodeError where it is none."""
        self._bytes += len(data)
        if self._bytes > LARGEST:
            raise TooMuch(f"sent more than {LARGEST >> 20} MiB, which no answer has: not read to its end")
        if self._bytes > UNCOUNTED:
            self._fields += count(data, kind, MOST_FIELDS - self._fields)
            if self._fields > MOST_FIELDS:
                raise TooMuch(f"sent more than {MOST_FIELDS} values, which no answer has: not read to its end")
        return kind.FromString(data)

    def admit(self, answer: CheckResponse) -> None:
        """TooMuch where its findings with those before are more than there may be."""
        self._findings += len(answer.findings)
        if self._findings > MOST_FINDINGS:
            raise TooMuch(f"sent more than {MOST_FINDINGS} findings, which no answer has: not read to its end")


def count(data: bytes, kind: type[Message], most: int) -> int:
    """How many fields the wire format holds, nested ones too; not counted on beyond `most`.

    DecodeError where it is no wire format; what is well formed the parser sees as it is seen here.
    """
    found = 0
    assert isinstance(kind.DESCRIPTOR, Descriptor)
    later = [(0, len(data), kind.DESCRIPTOR)]
    while later:
        place, end, message = later.pop()
        nested = _nested(message)
        while place < end:
            found += 1
            if found > most:
                return found
            tag, place = _number(data, place, end)
            form = tag & 7
            if form == VARINT:
                _, place = _number(data, place, end)
            elif form == SIZED:
                size, place = _number(data, place, end)
                if size > end - place:
                    raise DecodeError("a field goes beyond its message")
                if tag in nested:
                    later.append((place, place + size, nested[tag]))
                place += size
            elif form in (EIGHT_BYTES, FOUR_BYTES):
                place += 8 if form == EIGHT_BYTES else 4
            elif form not in (GROUP_BEGINS, GROUP_ENDS):
                raise DecodeError("no kind of field")
    return found


def _number(data: bytes, place: int, end: int) -> tuple[int, int]:
    """A number and the place after it."""
    if place < end and data[place] < 0x80:
        return data[place], place + 1
    value = 0
    for length in range(min(LONGEST_VARINT, end - place)):
        byte = data[place + length]
        value |= (byte & 0x7F) << (7 * length)
        if byte < 0x80:
            return value, place + length + 1
    raise DecodeError("a number without an end")


@cache
def _nested(kind: Descriptor) -> Nested:
    return {field.number << 3 | SIZED: field.message_type for field in kind.fields if field.message_type is not None}
