"""Measures `fleetmedic check` over emulated agents beside the floor raw-h2, and holds each figure against its bound.

    python -m benchmarks.fanout [--quick] [--only NAME] [--json FILE]

Runs from the repository with the interpreter of the environment that fleetmedic is installed in. The bounds are for two
quiet cores; the ratios to raw-h2 hold elsewhere too, because both share the machine and the session.
"""

import argparse
import datetime
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.answers import HostAnswer, causes, host_answers, last_answer, lost
from benchmarks.credentials import CredentialFiles, write_credentials
from benchmarks.dead_hosts import KINDS, DeadHost, dead_hosts
from benchmarks.emulated_agents import Tally
from benchmarks.farm import running_farm
from benchmarks.figures import Figure, all_met, table
from benchmarks.machine import PROGRAM, REPOSITORY, compile_bytecode, machine
from benchmarks.measured import MB, Measured, run
from benchmarks.raw_h2 import Agent

DEAD_ADDRESS = "127.0.11.1"
DEADLINE = "10"
# From here on an exit code says that the command could not do its work; below it, what it found.
DID_NOT_LOOK = 64

WALL_RATIO = 1.6
CPU_RATIO = 2.3
LAST_HEALTHY_RATIO = 1.3
DEAD_WALL = 3.5
MANY_WALL = 10.0
MANY_RSS = 700.0
ONE_CPU = 0.22
HELP_CPU = 0.08


@dataclass(frozen=True)
class Sizes:
    """How much a session measures."""

    agents: int
    many_agents: int
    dead_of_each: int
    repeats: int


FULL = Sizes(agents=1000, many_agents=5000, dead_of_each=30, repeats=5)
QUICK = Sizes(agents=100, many_agents=100, dead_of_each=3, repeats=1)


@dataclass(frozen=True)
class Session:
    """What all sections share: sizes, certificates, and a folder for inventories and the command's state."""

    sizes: Sizes
    files: CredentialFiles
    folder: Path
    program: Path

    @property
    def environment(self) -> dict[str, str]:
        # Nothing of the caller's, so that no setting or proxy of theirs is measured.
        return {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }

    def run(self, command: Sequence[str]) -> Measured:
        """Runs one command; ends the session when it could not do its work at all."""
        done = run(command, REPOSITORY, self.environment)
        if done.exit_code < 0 or done.exit_code >= DID_NOT_LOOK:
            raise SystemExit(f"{' '.join(command)}\nended with {done.exit_code}: {done.errors[-2000:]}")
        return done

    def check(self, inventory: Path, *options: str) -> Measured:
        """Runs `fleetmedic check` on all hosts of an inventory."""
        command = [str(self.program), "check", "-i", str(inventory), "--deadline", DEADLINE]
        command += ["--certificate", str(self.files.operator), "--key", str(self.files.operator_key)]
        return self.run([*command, "--ca", str(self.files.agent_ca), *options])

    def raw(self, agents_file: Path) -> Measured:
        """Runs the floor on the same agents."""
        command = [sys.executable, "-m", "benchmarks.raw_h2", "--agents", str(agents_file), "--deadline", DEADLINE]
        command += ["--certificate", str(self.files.operator), "--key", str(self.files.operator_key)]
        return self.run([*command, "--ca", str(self.files.agent_ca)])


@dataclass(frozen=True)
class Outcome:
    """What one section found out."""

    figures: list[Figure]
    notes: list[str]


def write_inventory(path: Path, hosts: Sequence[Agent | DeadHost]) -> Path:
    """Writes a YAML inventory of one group with the address and port of each host."""
    lines = [f"    {host.name}: {{fleetmedic_address: {host.address}, fleetmedic_port: {host.port}}}" for host in hosts]
    path.write_text("\n".join(["bench:", "  hosts:", *lines, ""]))
    return path


def write_agents_file(path: Path, agents: Sequence[Agent]) -> Path:
    """Writes the floor's "name address port" lines."""
    path.write_text("".join(f"{agent.name} {agent.address} {agent.port}\n" for agent in agents))
    return path


def spread(healthy: Sequence[Agent], dead: Sequence[DeadHost]) -> list[Agent | DeadHost]:
    """Both in one order, the dead at even distances and their kinds taking turns, as luck would place them."""
    per_kind = len(dead) // len(KINDS)
    turns = [dead[i + kind * per_kind] for i in range(per_kind) for kind in range(len(KINDS))]
    mixed: list[Agent | DeadHost] = list(healthy)
    gap = len(healthy) / len(turns)
    for i, host in reversed(list(enumerate(turns))):
        mixed.insert(int(i * gap), host)
    return mixed


def measure_thousand(session: Session) -> Outcome:
    """The command beside the floor, in turns, and how many messages the agents sent for it."""
    count = session.sizes.agents
    with running_farm(count, session.files, REPOSITORY) as farm:
        inventory = write_inventory(session.folder / "thousand.yml", farm.agents)
        agents_file = write_agents_file(session.folder / "thousand.txt", farm.agents)
        # Warms the page cache, and is counted host by host.
        answers = host_answers(session.check(inventory, "--format", "jsonl").output)
        raws: list[Measured] = []
        ours: list[Measured] = []
        tally = Tally()
        for _ in range(session.sizes.repeats):
            raws.append(session.raw(agents_file))
            farm.tally()
            ours.append(session.check(inventory))
            tally = farm.tally()
    lost_hosts = lost(answers, [agent.name for agent in farm.agents])
    return Outcome(_pair_figures(count, raws, ours, lost_hosts, tally), [_runs("raw-h2", raws), _runs("check", ours)])


def _pair_figures(
    count: int, raws: list[Measured], ours: list[Measured], lost_hosts: int, tally: Tally
) -> list[Figure]:
    raw_wall, raw_cpu = _best_wall(raws), _best_cpu(raws)
    wall, cpu = _best_wall(ours), _best_cpu(ours)
    return [
        Figure("raw-h2, wall", raw_wall, "s"),
        Figure("raw-h2, CPU", raw_cpu, "s"),
        Figure(f"check of {count}, wall", wall, "s"),
        Figure(f"check of {count}, CPU", cpu, "s"),
        Figure("wall, times raw-h2", wall / raw_wall, "x", WALL_RATIO),
        Figure("CPU, times raw-h2", cpu / raw_cpu, "x", CPU_RATIO),
        Figure("hosts lost", lost_hosts, "hosts", 0),
        Figure("timed runs that did not end with 0", sum(each.exit_code != 0 for each in raws + ours), "runs", 0),
        Figure("messages per host", tally.messages / count, "", 2),
        Figure("calls per host", (tally.check + tally.describe) / count, "", 1),
        Figure("peak memory", max(each.peak_rss for each in ours) / MB, "MB"),
    ]


def measure_dead(session: Session) -> Outcome:
    """A clean run beside one with dead hosts among the healthy, in turns."""
    sizes = session.sizes
    with (
        running_farm(sizes.agents, session.files, REPOSITORY) as farm,
        dead_hosts(DEAD_ADDRESS, sizes.dead_of_each) as dead,
    ):
        clean = write_inventory(session.folder / "clean.yml", farm.agents)
        dirty = write_inventory(session.folder / "dirty.yml", spread(farm.agents, dead))
        runs = [(_jsonl(session, clean), _jsonl(session, dirty)) for _ in range(sizes.repeats)]
    healthy = [agent.name for agent in farm.agents]
    clean_last = min(last_answer(answers, healthy) for (_, answers), _ in runs)
    dirty_last = min(last_answer(answers, healthy) for _, (_, answers) in runs)
    dirty_answers = [answers for _, (_, answers) in runs]
    by_kind = {kind: _causes_of(kind, dead, dirty_answers) for kind in KINDS}
    figures = [
        Figure("clean, last healthy answer", clean_last, "s"),
        Figure(f"with {len(dead)} dead, last healthy answer", dirty_last, "s"),
        Figure("last healthy answer, times clean", dirty_last / clean_last, "x", LAST_HEALTHY_RATIO),
        Figure("healthy hosts lost, worst run", max(lost(each, healthy) for each in dirty_answers), "hosts", 0),
        Figure("whole command with the dead, wall", _best_wall([each for _, (each, _) in runs]), "s", DEAD_WALL),
        Figure("kinds of death without a cause of their own", _unnamed(by_kind), "kinds", 0),
    ]
    return Outcome(figures, [f"{kind}: {' | '.join(sorted(given))}" for kind, given in by_kind.items()])


def _jsonl(session: Session, inventory: Path) -> tuple[Measured, list[HostAnswer]]:
    done = session.check(inventory, "--format", "jsonl")
    return done, host_answers(done.output)


def _causes_of(kind: str, dead: Sequence[DeadHost], runs: Sequence[list[HostAnswer]]) -> set[str]:
    names = [host.name for host in dead if host.kind == kind]
    return set[str]().union(*(causes(answers, names) for answers in runs))


def _unnamed(by_kind: dict[str, set[str]]) -> int:
    """How many kinds have a host without a cause, or share a cause with another kind."""
    return sum(
        "" in given or any(given & others for kind, others in by_kind.items() if kind != own)
        for own, given in by_kind.items()
    )


def measure_many(session: Session) -> Outcome:
    """Five times as many hosts: time, memory, and nobody lost."""
    count = session.sizes.many_agents
    with running_farm(count, session.files, REPOSITORY) as farm:
        inventory = write_inventory(session.folder / "many.yml", farm.agents)
        runs = [_jsonl(session, inventory) for _ in range(session.sizes.repeats)]
    names = [agent.name for agent in farm.agents]
    measured = [each for each, _ in runs]
    figures = [
        Figure("hosts lost, worst run", max(lost(answers, names) for _, answers in runs), "hosts", 0),
        Figure(f"check of {count}, wall", _best_wall(measured), "s", MANY_WALL),
        Figure(f"check of {count}, CPU", _best_cpu(measured), "s"),
        Figure("peak memory, worst run", max(each.peak_rss for each in measured) / MB, "MB", MANY_RSS),
    ]
    return Outcome(figures, [_runs("check", measured)])


def measure_one(session: Session) -> Outcome:
    """One host: what the command costs before it is about hosts at all."""
    with running_farm(1, session.files, REPOSITORY) as farm:
        inventory = write_inventory(session.folder / "one.yml", farm.agents)
        runs = [session.check(inventory) for _ in range(session.sizes.repeats)]
    figures = [
        Figure("check of one host, wall", _best_wall(runs), "s"),
        Figure("check of one host, CPU", _best_cpu(runs), "s", ONE_CPU),
        Figure("runs that did not end with 0", sum(each.exit_code != 0 for each in runs), "runs", 0),
    ]
    return Outcome(figures, [_runs("check", runs)])


def measure_help(session: Session) -> Outcome:
    """What it costs to be told how to go on."""
    runs = [session.run([str(session.program), "--help"]) for _ in range(session.sizes.repeats)]
    figures = [
        Figure("--help, wall", _best_wall(runs), "s"),
        Figure("--help, CPU", _best_cpu(runs), "s", HELP_CPU),
        Figure("runs that did not end with 0", sum(each.exit_code != 0 for each in runs), "runs", 0),
    ]
    return Outcome(figures, [_runs("--help", runs)])


SECTIONS: dict[str, Callable[[Session], Outcome]] = {
    "thousand": measure_thousand,
    "dead": measure_dead,
    "many": measure_many,
    "one": measure_one,
    "help": measure_help,
}


def _best_wall(runs: Sequence[Measured]) -> float:
    return min(each.wall for each in runs)


def _best_cpu(runs: Sequence[Measured]) -> float:
    return min(each.cpu for each in runs)


def _runs(name: str, runs: Sequence[Measured]) -> str:
    return f"{name}, wall/CPU of each run: " + ", ".join(f"{each.wall:.2f}/{each.cpu:.2f}" for each in runs)


def measure(names: Sequence[str], sizes: Sizes, program: Path, now: datetime.datetime) -> dict[str, Outcome]:
    """Runs the sections and prints each as it ends."""
    with tempfile.TemporaryDirectory(prefix="fleetmedic-bench-") as folder:
        session = Session(sizes, write_credentials(Path(folder), now), Path(folder), program)
        outcomes = {}
        for name in names:
            outcomes[name] = SECTIONS[name](session)
            print(f"\n{name}\n{table(outcomes[name].figures)}")
            print("\n".join(f"  {note}" for note in outcomes[name].notes), flush=True)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 agents, one run each: shows that it works, no more")
    parser.add_argument("--only", choices=list(SECTIONS), action="append", help="a section; may be given again")
    parser.add_argument(
        "--program", type=Path, default=PROGRAM, help="what to measure instead of the one installed here"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to FILE")
    given = parser.parse_args()
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - a program of its own: this is the edge
    compile_bytecode()
    on = machine()
    print(f"{now:%Y-%m-%d %H:%M} UTC, {', '.join(f'{name} {value}' for name, value in on.items())}")
    outcomes = measure(given.only or list(SECTIONS), QUICK if given.quick else FULL, given.program, now)
    if given.json:
        result = {"date": now.isoformat(), "machine": on, "sections": {k: asdict(v) for k, v in outcomes.items()}}
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    met = all(all_met(outcome.figures) for outcome in outcomes.values())
    sys.exit(0 if met or given.quick else 1)


if __name__ == "__main__":
    main()
