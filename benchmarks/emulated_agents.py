"""Serves up to 800 emulated agents from one process: a port, a certificate and one ready answer each, over mutual TLS.

Prints "ready" once all ports listen. Then it obeys standard input: the line "count" prints the calls and messages
since the last "count" as JSON, end of file ends the process. gRPC cancels calls of a process that serves many more.
"""

import argparse
import asyncio
import datetime
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.credentials import Authority, CredentialFiles, issue_agent, read_agent_authority
from fleetmedic.v1.agent_pb2 import CheckResponse, Clock, DescribeResponse, Identity
from fleetmedic.v1.finding_pb2 import STATUS_OK, STATUS_WARN, Finding, Metric, Status, Subject

MOST_AGENTS = 800
FINDINGS = 30
WARNINGS_WHEN_ASKED = 3
CHECK = "/fleetmedic.v1.AgentService/Check"
DESCRIBE = "/fleetmedic.v1.AgentService/Describe"
VERSION = "0.1.0"
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", 5000),
    ("grpc.max_receive_message_length", 65536),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 32),
)

Call = grpc.aio.ServicerContext[bytes, bytes]
Method = Callable[[bytes, Call], Awaitable[None]]


@dataclass
class Tally:
    """What this process was asked and what it sent, over all its agents."""

    check: int = 0
    describe: int = 0
    messages: int = 0


@dataclass(frozen=True)
class Farm:
    """Which agents one process serves: `count` of them from number `first`, on consecutive ports of one address."""

    address: str
    port: int
    first: int
    count: int
    warn: bool


def agent_name(number: int) -> str:
    """The inventory name of an emulated agent; it is the certificate's DNS name as well."""
    return f"bench{number:05d}"


def make_answer(name: str, warn: bool, now: datetime.datetime) -> CheckResponse:
    """One whole answer of about 4 KB: 30 findings, all ok, or three of them warn."""
    stamp = Timestamp()
    stamp.FromDatetime(now)
    warnings = WARNINGS_WHEN_ASKED if warn else 0
    return CheckResponse(
        request_id="bench",
        sequence=1,
        last=True,
        agent=Identity(name=name, version=VERSION, boot_id=_boot_id(name), started_time=stamp),
        findings=[_finding(i, STATUS_WARN if i < warnings else STATUS_OK) for i in range(FINDINGS)],
    )


def _boot_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def _finding(number: int, status: "Status.ValueType") -> Finding:
    used = 0.93 if status == STATUS_WARN else 0.41
    return Finding(
        id="HOST-DISK-SPACE",
        status=status,
        subject=Subject(service="host", kind="filesystem", name=f"/srv/data{number:02d}"),
        summary=f"{used:.0%} of 120 GB is used, the limit is 90%",
        metrics=[Metric(name="used", value=used, unit="ratio", limit=0.9, owner="own", origin="default")],
    )


class AnsweringHandler(grpc.GenericRpcHandler):
    """Routes one agent's two methods to ready bytes, without parsing a request."""

    def __init__(self, check: bytes, describe: bytes, tally: Tally) -> None:
        self._check = _stream_of(check, tally)
        self._describe = _single(describe, tally)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if handler_call_details.method == CHECK:
            return self._check
        if handler_call_details.method == DESCRIBE:
            return self._describe
        return None


def _stream_of(answer: bytes, tally: Tally) -> "grpc.RpcMethodHandler[bytes, bytes]":
    async def check(_request: bytes, call: Call) -> None:
        tally.check += 1
        # At once, as an agent does: the caller knows it is talking to an agent before the checks are done.
        await call.send_initial_metadata(())
        await call.write(answer + _clock())
        tally.messages += 1

    return grpc.unary_stream_rpc_method_handler(check)


def _clock() -> bytes:
    """The clock of this moment, as the rest of a message: serialised messages are joined by writing them in a row."""
    clock = Clock()
    clock.received_time.GetCurrentTime()
    clock.answered_time.GetCurrentTime()
    return CheckResponse(clock=clock).SerializeToString()


def _single(answer: bytes, tally: Tally) -> "grpc.RpcMethodHandler[bytes, bytes]":
    async def describe(_request: bytes, _call: Call) -> bytes:
        tally.describe += 1
        return answer

    return grpc.unary_unary_rpc_method_handler(describe)


async def start_agent(
    authority: Authority, operator_ca: bytes, name: str, endpoint: str, warn: bool, tally: Tally, now: datetime.datetime
) -> grpc.aio.Server:
    """Starts one agent at `endpoint` (ADDRESS:PORT); a port in use raises RuntimeError."""
    issued = issue_agent(authority, name, now)
    answer = make_answer(name, warn, now)
    described = DescribeResponse(agent=answer.agent, methods=["Describe", "Check"])
    # A server each, because a handler can't tell which of a server's ports a call came in on.
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(
        (AnsweringHandler(answer.SerializeToString(), described.SerializeToString(), tally),)
    )
    pair = (issued.key, issued.certificate)
    server.add_secure_port(endpoint, grpc.ssl_server_credentials([pair], operator_ca, require_client_auth=True))
    await server.start()
    return server


async def serve(farm: Farm, files: CredentialFiles, now: datetime.datetime) -> None:
    """Serves the farm until standard input ends."""
    tally = Tally()
    authority = read_agent_authority(files)
    operator_ca = files.operator_ca.read_bytes()
    servers = [
        await start_agent(
            authority, operator_ca, agent_name(farm.first + i), f"{farm.address}:{farm.port + i}", farm.warn, tally, now
        )
        for i in range(farm.count)
    ]
    print("ready", flush=True)
    await _obey_standard_input(tally)
    await asyncio.gather(*(server.stop(None) for server in servers))


async def _obey_standard_input(tally: Tally) -> None:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        if line.strip() == b"count":
            print(json.dumps(asdict(tally)), flush=True)
            tally.check = tally.describe = tally.messages = 0


def _parse(arguments: list[str]) -> tuple[Farm, CredentialFiles]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--credentials", type=Path, required=True, help="folder made by credentials.write_credentials")
    parser.add_argument("--address", default="127.0.10.1", help="all agents listen here, on consecutive ports")
    parser.add_argument("--port", type=int, default=20000, help="the first agent's port")
    parser.add_argument("--first", type=int, default=0, help="the first agent's number; names follow from it")
    parser.add_argument("--count", type=int, default=MOST_AGENTS)
    parser.add_argument("--warn", action="store_true", help=f"{WARNINGS_WHEN_ASKED} findings of each agent are warn")
    given = parser.parse_args(arguments)
    if not 0 < given.count <= MOST_AGENTS:
        parser.error(f"--count {given.count} is not between 1 and {MOST_AGENTS}; start one more process")
    return Farm(given.address, given.port, given.first, given.count, given.warn), CredentialFiles(given.credentials)


def main() -> None:
    farm, files = _parse(sys.argv[1:])
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - a program of its own: this is the edge
    asyncio.run(serve(farm, files, now))


if __name__ == "__main__":
    main()
