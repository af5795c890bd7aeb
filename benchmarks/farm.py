"""Starts as many emulated-agent processes as a number of agents needs, and sums up what they were asked."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.credentials import CredentialFiles
from benchmarks.emulated_agents import MOST_AGENTS, Tally, agent_name
from benchmarks.raw_h2 import Agent

FIRST_PORT = 20000
NETWORK = "127.0.10"
SECONDS_TO_STOP = 30


@dataclass(frozen=True)
class RunningFarm:
    """Emulated agents that listen, in inventory order, and the processes that serve them."""

    agents: list[Agent]
    processes: list["subprocess.Popen[str]"]

    def tally(self) -> Tally:
        """Calls and messages since the last time this was asked."""
        total = Tally()
        for process in self.processes:
            assert process.stdin
            assert process.stdout
            process.stdin.write("count\n")
            process.stdin.flush()
            counted = Tally(**json.loads(process.stdout.readline()))
            total.check += counted.check
            total.describe += counted.describe
            total.messages += counted.messages
        return total


@contextmanager
def running_farm(agents: int, files: CredentialFiles, folder: Path, warn: bool = False) -> Iterator[RunningFarm]:
    """Serves `agents` emulated agents while the context lasts; `folder` is the repository."""
    placed: list[Agent] = []
    processes: list[subprocess.Popen[str]] = []
    try:
        for number, size in enumerate(even_shares(agents, MOST_AGENTS)):
            address = f"{NETWORK}.{number + 1}"
            processes.append(_start(files, folder, address, first=len(placed), count=size, warn=warn))
            placed += [Agent(agent_name(len(placed) + i), address, FIRST_PORT + i) for i in range(size)]
        for process in processes:
            _await_ready(process)
        yield RunningFarm(placed, processes)
    finally:
        for process in processes:
            _stop(process)


def even_shares(total: int, most: int) -> list[int]:
    """Splits `total` into as few shares of at most `most` as possible, of sizes that differ by one at most."""
    shares = -(-total // most)
    small, larger = divmod(total, shares)
    return [small + 1] * larger + [small] * (shares - larger)


def _start(
    files: CredentialFiles, folder: Path, address: str, first: int, count: int, warn: bool
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.emulated_agents", "--credentials", str(files.folder)]
    command += ["--address", address, "--port", str(FIRST_PORT), "--first", str(first), "--count", str(count)]
    if warn:
        command.append("--warn")
    return subprocess.Popen(command, cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _await_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout
    if process.stdout.readline() != "ready\n":
        raise SystemExit("an emulated-agent process did not start; its own message is above")


def _stop(process: "subprocess.Popen[str]") -> None:
    with process:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
