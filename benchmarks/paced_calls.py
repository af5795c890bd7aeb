"""Valid calls at a steady pace over one warm channel, as a controller makes them: how many are lost, how late they are.

    python -m benchmarks.paced_calls --port PORT --name NAME --certificate FILE --key FILE --ca FILE --rate 50
        --seconds 10

Prints one line of JSON. Each call is timed from when it was due, not from when it was sent: a client that is held up
must not hide it. Calls are the front's own (health); once a second one is a Describe, which the worker answers too and
whose time is not counted.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from fleetmedic.v1.agent_pb2 import DescribeRequest

HEALTH = "/grpc.health.v1.Health/Check"
DESCRIBE = "/fleetmedic.v1.AgentService/Describe"
DEADLINE = 10.0
# A machine that stood still makes many calls due at once; what waits here counts as late all the same.
MOST_IN_FLIGHT = 6
# Calls that are not counted: they open the channel.
FIRST = 5
if TYPE_CHECKING:
    Method: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[Any, bytes]


@dataclass(frozen=True)
class Target:
    """An agent, and what an operator calls it with."""

    address: str
    port: int
    name: str
    certificate: Path
    key: Path
    ca: Path

    def words(self) -> list[str]:
        """The target as options of a command."""
        return [part for key, value in asdict(self).items() for part in (f"--{key}", str(value))]


@dataclass
class Paced:
    """What became of the calls. `milliseconds` of those that were answered, in the order they were due."""

    asked: int = 0
    lost: list[str] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def share(self, part: float) -> float:
        """The time under which this share (0.99) of the calls was answered."""
        return sorted(self.milliseconds)[min(int(part * len(self.milliseconds)), len(self.milliseconds) - 1)]

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)


def together(parts: Sequence[Paced]) -> Paced:
    """Several runs as one."""
    return Paced(
        sum(part.asked for part in parts),
        [why for part in parts for why in part.lost],
        [each for part in parts for each in part.milliseconds],
    )


def start(target: Target, rate: float, seconds: float) -> "subprocess.Popen[str]":
    """Begins calls in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.paced_calls", *target.words()]
    return subprocess.Popen(
        [*command, "--rate", str(rate), "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True
    )


def finished(calling: "subprocess.Popen[str]") -> Paced:
    """Waits for calls that were begun."""
    said, _ = calling.communicate()
    if calling.returncode:
        raise SystemExit(f"paced_calls ended with {calling.returncode}; its own message is above")
    return Paced(**json.loads(said))


async def calls(target: Target, rate: float, seconds: float) -> Paced:
    """Makes the calls, each when it is due, whatever became of the others."""
    credentials = grpc.ssl_channel_credentials(
        target.ca.read_bytes(), target.key.read_bytes(), target.certificate.read_bytes()
    )
    named = [("grpc.ssl_target_name_override", target.name)]
    made = Paced()
    async with grpc.aio.secure_channel(f"{target.address}:{target.port}", credentials, named) as channel:
        health: Method = channel.unary_unary(HEALTH, health_pb2.HealthCheckRequest.SerializeToString)
        describe: Method = channel.unary_unary(DESCRIBE, DescribeRequest.SerializeToString)
        for _ in range(FIRST):
            await health(health_pb2.HealthCheckRequest(), timeout=DEADLINE)

        room = asyncio.Semaphore(MOST_IN_FLIGHT)

        async def call(number: int, due: float) -> None:
            counted = number % max(round(rate), 1) != 0
            try:
                async with room:
                    if counted:
                        await health(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
                    else:
                        await describe(DescribeRequest(), timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                made.lost.append(f"{error.code().name}: {error.details()}")
                return
            if counted:
                made.milliseconds.append(1000 * (time.monotonic() - due))

        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                due = begin + number / rate
                await asyncio.sleep(due - time.monotonic())
                made.asked += 1
                group.create_task(call(number, due))
    return made


def targeted(parser: argparse.ArgumentParser) -> None:
    """Adds the options that a target is made of."""
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    for option in ("--certificate", "--key", "--ca"):
        parser.add_argument(option, type=Path, required=True)


def target_of(given: argparse.Namespace) -> Target:
    return Target(given.address, given.port, given.name, given.certificate, given.key, given.ca)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    targeted(parser)
    parser.add_argument("--rate", type=float, default=50.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    print(json.dumps(asdict(asyncio.run(calls(target_of(given), given.rate, given.seconds)))))


if __name__ == "__main__":
    main()
