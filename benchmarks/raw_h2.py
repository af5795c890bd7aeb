"""The floor that fan-outs are compared with: mutual TLS, one hand-encoded HTTP/2 gRPC call and a decode a host.

    python -m benchmarks.raw_h2 --agents FILE --certificate FILE --key FILE --ca FILE

FILE of agents holds one "name address port" a line. An agent counts as answered when its certificate carries its name
and its stream ended after a message that decodes and says it is the last one.
"""

import argparse
import asyncio
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x7
END_STREAM = END_OF_SETTINGS = 0x1
END_HEADERS = 0x4
FRAME_HEADER = 9
MESSAGE_HEADER = 5
STREAM = 1
PATH = b"/fleetmedic.v1.AgentService/Check"


class BadAnswerError(Exception):
    """The peer spoke HTTP/2, but gave no whole answer."""


@dataclass(frozen=True)
class Agent:
    """One line of the agents file."""

    name: str
    address: str
    port: int


@dataclass
class Result:
    """What the run got, over all agents."""

    answered: int = 0
    lost: int = 0
    messages: int = 0
    findings: int = 0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """One HPACK field, neither indexed nor Huffman-coded; both parts under 127 bytes."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def opening(name: str, deadline: float) -> bytes:
    """Everything the client sends before it hears from the agent: preface, settings and the whole call."""
    message = CheckRequest(request_id="bench").SerializeToString()
    headers = b"".join(
        literal(key, value)
        for key, value in (
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":path", PATH),
            (b":authority", name.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"grpc-timeout", f"{int(deadline * 1000)}m".encode()),
        )
    )
    return (
        PREFACE
        + frame(SETTINGS, 0, 0, b"")
        + frame(HEADERS, END_HEADERS, STREAM, headers)
        + frame(DATA, END_STREAM, STREAM, b"\x00" + len(message).to_bytes(4, "big") + message)
    )


class Call(asyncio.Protocol):
    """One connection with one call; `body` ends with the gRPC messages of the answer, or an error."""

    def __init__(self, request: bytes, body: "asyncio.Future[bytes]") -> None:
        self._request = request
        self._body = body
        self._buffer = bytearray()
        self._data = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        start, end = 0, len(self._buffer)
        while end - start >= FRAME_HEADER:
            after = start + FRAME_HEADER + int.from_bytes(self._buffer[start : start + 3], "big")
            if after > end:
                break
            self._take(self._buffer[start + 3], self._buffer[start + 4], start + FRAME_HEADER, after)
            start = after
        del self._buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._body.done():
            self._body.set_exception(exc or BadAnswerError("the connection closed before the answer ended"))

    def _take(self, kind: int, flags: int, start: int, after: int) -> None:
        if self._body.done():
            return
        if kind == DATA:
            # gRPC doesn't pad its frames.
            self._data += self._buffer[start:after]
        elif kind == SETTINGS and not flags & END_OF_SETTINGS and self._transport:
            self._transport.write(frame(SETTINGS, END_OF_SETTINGS, 0, b""))
        elif kind in (RST_STREAM, GOAWAY):
            self._body.set_exception(BadAnswerError(f"the agent ended the call with frame type {kind}"))
            return
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._body.set_result(bytes(self._data))


def messages_of(body: bytes) -> list[CheckResponse]:
    """Splits and decodes the gRPC messages of one call; raises BadAnswerError unless the last one says so."""
    messages, at = [], 0
    while at < len(body):
        start = at + MESSAGE_HEADER
        at = start + int.from_bytes(body[at + 1 : start], "big")
        messages.append(CheckResponse.FromString(body[start:at]))
    if not messages or not messages[-1].last:
        raise BadAnswerError("the answer has no last message")
    return messages


async def ask(agent: Agent, context: ssl.SSLContext, deadline: float) -> list[CheckResponse]:
    """Calls one agent once, on a connection of its own."""
    loop = asyncio.get_running_loop()
    body: asyncio.Future[bytes] = loop.create_future()
    request = opening(agent.name, deadline)
    transport, _ = await loop.create_connection(
        lambda: Call(request, body), agent.address, agent.port, ssl=context, server_hostname=agent.name
    )
    try:
        return messages_of(await body)
    finally:
        transport.abort()


async def ask_all(agents: list[Agent], context: ssl.SSLContext, concurrency: int, deadline: float) -> Result:
    """Calls every agent, at most `concurrency` at once, each within `deadline` seconds."""
    result = Result()
    waiting = iter(agents)

    async def work() -> None:
        for agent in waiting:
            try:
                async with asyncio.timeout(deadline):
                    messages = await ask(agent, context, deadline)
            except (OSError, TimeoutError, BadAnswerError) as error:
                result.lost += 1
                print(f"{agent.name}: {error!r}", file=sys.stderr)
                continue
            result.answered += 1
            result.messages += len(messages)
            result.findings += sum(len(message.findings) for message in messages)

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return result


def client_context(certificate: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """One context for all connections: our certificate, their authority, their name checked, HTTP/2 only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(ca)
    # The agents' authority may stand below a root that is not here.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    return context


def read_agents(path: Path) -> list[Agent]:
    """Reads "name address port" lines."""
    fields = (line.split() for line in path.read_text().splitlines())
    return [Agent(name, address, int(port)) for name, address, port in fields]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--agents", "--certificate", "--key", "--ca"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--deadline", type=float, default=10.0, help="seconds for each agent")
    given = parser.parse_args()
    context = client_context(given.certificate, given.key, given.ca)
    result = asyncio.run(ask_all(read_agents(given.agents), context, given.concurrency, given.deadline))
    print(
        f"answered {result.answered} lost {result.lost} messages {result.messages} findings {result.findings}",
        flush=True,
    )
    sys.exit(1 if result.lost else 0)


if __name__ == "__main__":
    main()
