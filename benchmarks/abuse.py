"""Abuses a real agent's front while valid calls go on: crowds, floods, and eight controllers for ten minutes.

    python tests/lab/sandbox.py .venv/bin/python -m benchmarks.abuse

Everything is on loopback, is bounded, and ends by itself: fourteen minutes at full size. `--part 20` does a twentieth.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from benchmarks import paced_calls
from benchmarks.attackers import attacking
from benchmarks.figures import Figure, all_met, table
from benchmarks.machine import machine
from benchmarks.paced_calls import Paced, Target
from benchmarks.process_cost import MB, rss, trees
from tests.lab import agents, sandbox
from tests.lab.agents import Agent, Desk

VALID_RATE = 50.0
P99_BOUND = 250.0
TIMES_CONTROL = 2.0
RSS_BOUND = 160.0
SLOPE_BOUND = 1.0
CROWDS = ("idle", "bare", "handshakes")
FLOODS = ("reset", "continuation", "ping", "junk", "emptied")


@dataclass(frozen=True)
class Size:
    """How much of everything: crowds in connections, rates a second, times in seconds."""

    crowd: int = 1000
    handshakes: int = 200
    resets: int = 2000
    floods: int = 2000
    seconds: float = 60.0
    flood_seconds: float = 20.0
    controllers: int = 8
    rate: float = 50.0
    soak_seconds: float = 600.0
    rounds: int = 4


def part_of(whole: Size, divisor: float) -> Size:
    """The same with a part of the crowds, the rates of the attacks and the times; the controllers all come."""
    return Size(
        crowd=int(whole.crowd / divisor),
        handshakes=int(whole.handshakes / divisor),
        resets=int(whole.resets / divisor),
        floods=int(whole.floods / divisor),
        seconds=whole.seconds / divisor,
        flood_seconds=whole.flood_seconds / divisor,
        controllers=whole.controllers,
        rate=whole.rate,
        soak_seconds=whole.soak_seconds / divisor,
        rounds=1 if divisor > 2 else whole.rounds,
    )


@dataclass
class Watched:
    """A process's resident memory over time, as (seconds, MB)."""

    seen: list[tuple[float, float]] = field(default_factory=list)

    @property
    def most(self) -> float:
        return max(size for _, size in self.seen)

    def slope(self) -> float:
        """MB a minute by least squares, without the first tenth: pools fill then."""
        rows = self.seen[len(self.seen) // 10 :]
        mean_at = sum(at for at, _ in rows) / len(rows)
        mean = sum(size for _, size in rows) / len(rows)
        spread = sum((at - mean_at) ** 2 for at, _ in rows)
        return 60 * sum((at - mean_at) * (size - mean) for at, size in rows) / spread if spread else 0.0


@contextmanager
def watched(*pids: int, every: float = 0.25) -> Iterator[Watched]:
    """Watch the memory of some processes while the block lasts."""
    made, over, begin = Watched(), Event(), time.monotonic()

    def look() -> None:
        while True:
            made.seen.append((time.monotonic() - begin, sum(map(rss, pids)) / MB))
            if over.wait(every):
                return

    looking = Thread(target=look)
    looking.start()
    try:
        yield made
    finally:
        over.set()
        looking.join()


def target(desk: Desk, agent: Agent) -> Target:
    """What calls this agent: the desk's own operator."""
    given = desk.environment
    return Target(
        agent.address,
        agent.port,
        agent.name,
        Path(given["FLEETMEDIC_CERTIFICATE"]),
        Path(given["FLEETMEDIC_KEY"]),
        Path(given["FLEETMEDIC_CA"]),
    )


def valid(at: Target, seconds: float) -> Paced:
    return paced_calls.finished(paced_calls.start(at, VALID_RATE, seconds))


@dataclass(frozen=True)
class Attacked:
    """Valid calls under an attack, beside those without one in the same run."""

    kind: str
    under: Paced
    control: Paced
    memory: float
    did: str

    def figures(self) -> list[Figure]:
        """Lost calls, and how late they were, which has bounds under a crowd."""
        late, usual = self.under.share(0.99), self.control.share(0.99)
        p99, times = (P99_BOUND, TIMES_CONTROL) if self.kind in CROWDS else (None, None)
        return [
            Figure(f"{self.kind}: valid calls lost of {self.under.asked}", len(self.under.lost), "", 0),
            Figure(f"{self.kind}: p99 of valid calls", late, "ms", p99),
            Figure(f"{self.kind}: p99 beside the idle control's {usual:.1f} ms", late / usual, "times", times),
            Figure(f"{self.kind}: median, control {self.control.median:.2f} ms", self.under.median, "ms"),
            Figure(f"{self.kind}: front, RSS at most", self.memory, "MB", RSS_BOUND),
        ]


def attacked(
    kind: str, agent: Agent, at: Target, count: int, seconds: float, *, rounds: int = 1, control: Paced | None = None
) -> Attacked:
    """An attack for `seconds` in all, in rounds; before each as long a time without one, unless a control is given.

    In rounds, because other work on the machine comes and goes: it must not meet one of the two alone.
    """
    quiet, under, tallies, most = [] if control is None else [control], [], [], 0.0
    for _ in range(rounds):
        if control is None:
            quiet.append(valid(at, seconds / rounds))
        with watched(agent.front) as memory, attacking(kind, at, count, 2 * seconds + 60) as did:
            under.append(valid(at, seconds / rounds))
        tallies.append(did)
        most = max(most, memory.most)
    return Attacked(kind, paced_calls.together(under), paced_calls.together(quiet), most, " ".join(map(str, tallies)))


def attack(kind: str, agent: Agent, at: Target, size: Size, control: Paced | None = None) -> Attacked:
    """L1: a crowd of connections. L2: a flood of what HTTP/2 allows, or forbids."""
    counts = {"handshakes": size.handshakes, "reset": size.resets}
    count = counts.get(kind, size.crowd if kind in CROWDS else size.floods)
    seconds = size.seconds if kind in CROWDS else size.flood_seconds
    return attacked(kind, agent, at, count, seconds, rounds=size.rounds, control=control)


@dataclass(frozen=True)
class Soaked:
    """L3: what became of all controllers' calls, and of the memory of the front and of the worker."""

    calls: Paced
    front: Watched
    worker: Watched

    def figures(self) -> list[Figure]:
        return [
            Figure(f"soak: calls lost of {self.calls.asked}", len(self.calls.lost), "", 0),
            Figure("soak: median", self.calls.median, "ms"),
            Figure("soak: p99", self.calls.share(0.99), "ms"),
            Figure("soak: front, RSS slope", self.front.slope(), "MB/min", SLOPE_BOUND),
            Figure("soak: front, RSS at most", self.front.most, "MB", RSS_BOUND),
            Figure("soak: worker, RSS slope", self.worker.slope(), "MB/min", SLOPE_BOUND),
        ]


def soak(agent: Agent, at: Target, size: Size) -> Soaked:
    """Controllers at a steady pace, each a process with a connection of its own."""
    # The first calls fill pools that stay full.
    valid(at, 2.0)
    with watched(agent.front, every=0.5) as front, watched(agent.worker, every=0.5) as worker:
        calling = [paced_calls.start(at, size.rate, size.soak_seconds) for _ in range(size.controllers)]
        calls = paced_calls.together([paced_calls.finished(each) for each in calling])
    return Soaked(calls, front, worker)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=float, default=1.0, help="20 for a twentieth of everything")
    parser.add_argument("--only", choices=(*CROWDS, *FLOODS, "soak"))
    given = parser.parse_args()
    if not sandbox.inside():
        raise SystemExit("run this in the sandbox: python tests/lab/sandbox.py .venv/bin/python -m benchmarks.abuse")
    size = part_of(Size(), given.part)
    print(machine(), size, flush=True)
    desk = agents.desk(sandbox.LAB / "desk")
    figures: list[Figure] = []
    for kind in (*CROWDS, *FLOODS, "soak"):
        if given.only not in (None, kind):
            continue
        # A front of its own for each: memory that a crowd took is not given back to the system.
        with agents.run(desk, "host01", port=7443) as agent:
            at = target(desk, agent)
            if kind == "soak":
                soaked = soak(agent, at, size)
                print(sorted(set(soaked.calls.lost))[:3])
                figures += soaked.figures()
            else:
                done = attack(kind, agent, at, size)
                print(kind, done.did, sorted(set(done.under.lost))[:3], flush=True)
                figures += done.figures()
            left = len(trees([agent.front, agent.worker]))
            print(f"{left} processes of the agent's, load {os.getloadavg()[0]:.1f}", flush=True)
    print(table(figures))
    sys.exit(0 if all_met(figures) else 1)


if __name__ == "__main__":
    main()
