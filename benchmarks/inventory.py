"""Measures `fleetmedic inventory` on fleets of up to 50,000 hosts beside `ansible-inventory`, in the same session.

    python -m benchmarks.inventory [--quick] [--only NAME] [--json FILE]

Runs from the repository with the interpreter of the environment that fleetmedic is installed in; ansible-core comes
from `make .cache/oracle/.installed`, and without it only ours is measured. CPU is user and system of a fresh process,
the best of three runs; of ansible's there is only one where it takes longer than ten seconds.
"""

import argparse
import datetime
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks import fleets
from benchmarks.figures import Figure, all_met
from benchmarks.machine import PROGRAM, REPOSITORY, compile_bytecode, machine
from benchmarks.measured import MB, Measured, run

ORACLE = REPOSITORY / ".cache" / "oracle" / "bin"
REPEATS = 3
LONG = 10.0
QUICK_HOSTS = 10_000

LIST_100_CPU = 0.12
LIST_10000_INI_CPU = 1.0
LIST_10000_INI_RSS = 60.0
LIST_10000_YAML_CPU = 1.5
ONE_OF_50000_CPU = 3.0


@dataclass(frozen=True)
class Bounds:
    """CPU seconds and MB that ours may use; None where the number only informs."""

    cpu: float | None = None
    rss: float | None = None


@dataclass(frozen=True)
class Case:
    """One command on one fleet: what ours and ansible are asked."""

    name: str
    hosts: int
    write: Callable[[Path], Path]
    ours: tuple[str, ...] = ("inventory", "list")
    theirs: tuple[str, ...] = ("ansible-inventory", "--list")
    bounds: Bounds = Bounds()


SHAPES: dict[str, Callable[..., Path]] = {
    "INI": fleets.ini,
    "YAML": fleets.yaml,
    "script": fleets.script,
    "INI + group_vars + host_vars": fleets.ini_with_vars,
}
BOUNDS = {
    ("INI", 10_000): Bounds(LIST_10000_INI_CPU, LIST_10000_INI_RSS),
    ("YAML", 10_000): Bounds(LIST_10000_YAML_CPU),
}
COUNTS = (100, 1_000, 10_000, 50_000)


def lists() -> Iterator[Case]:
    """Everything as JSON, for each shape and size."""
    for count in COUNTS:
        usual = Bounds(LIST_100_CPU) if count == COUNTS[0] else Bounds()
        for shape, write in SHAPES.items():
            bounds = BOUNDS.get((shape, count), usual)
            yield Case(f"list of {count:,}, {shape}", count, partial(write, count=count), bounds=bounds)


def selections() -> Iterator[Case]:
    """One host, and one intersection, of 50,000 hosts."""
    for what, pattern in (("one host", fleets.host_name(49_999)), ("role1:&dc1", "role1:&dc1")):
        for shape in ("INI", "INI + group_vars + host_vars"):
            yield Case(
                f"{what} of 50,000, {shape}",
                50_000,
                partial(SHAPES[shape], count=50_000),
                ("inventory", "hosts", pattern),
                ("ansible", pattern, "--list-hosts"),
                Bounds(ONE_OF_50000_CPU) if what == "one host" else Bounds(),
            )


def many_groups() -> Iterator[Case]:
    """Fleets whose cost is in their groups."""
    yield Case("list of 18,000 in 108 groups, 58,000 memberships", 18_000, fleets.memberships)
    yield Case("list of 8,500 groups", 8_500, fleets.groups)


SECTIONS: dict[str, Callable[[], Iterator[Case]]] = {
    "list": lists,
    "select": selections,
    "groups": many_groups,
}


@dataclass(frozen=True)
class Outcome:
    """One case: ours, ansible's where it was measured, and our figures with their bounds."""

    case: str
    ours: Measured
    theirs: Measured | None
    figures: list[Figure]


def measure(case: Case, folder: Path, environment: dict[str, str], *, with_oracle: bool) -> Outcome:
    """Writes the fleet, runs both on it; SystemExit where one can't do its work."""
    place = folder / "fleet"
    # By a process of its own: what writes 50,000 hosts has grown, and a child's peak begins with its parent's.
    with get_context("spawn").Pool(1) as writer:
        source = str(writer.apply(case.write, (place,)))
    ours = _best([str(PROGRAM), *case.ours, "-i", source], folder, environment, REPEATS)
    theirs = None
    if with_oracle:
        theirs = _best([str(ORACLE / case.theirs[0]), *case.theirs[1:], "-i", source], folder, environment, REPEATS)
    figures = [
        Figure(f"{case.name}, CPU", ours.cpu, "s", case.bounds.cpu),
        Figure(f"{case.name}, peak memory", ours.peak_rss / MB, "MB", case.bounds.rss),
    ]
    fleets.clear(place)
    return Outcome(case.name, ours, theirs, figures)


def _best(command: Sequence[str], folder: Path, environment: dict[str, str], repeats: int) -> Measured:
    runs: list[Measured] = []
    while len(runs) < repeats and not (runs and runs[0].cpu > LONG):
        runs.append(run(command, folder, environment, keeps_output=False))
        if runs[-1].exit_code:
            raise SystemExit(f"{' '.join(command)}\nended with {runs[-1].exit_code}: {runs[-1].errors[-2000:]}")
    return min(runs, key=lambda each: each.cpu)


HEAD = f"{'':50} {'ours':>15} {'bound':>11} {'':6} {'ansible':>15} {'times':>6}"


def row(outcome: Outcome) -> str:
    """One line: CPU seconds and MB of both, the bound on ours, and how many times as much CPU ansible uses."""
    cpu, rss = outcome.figures
    verdict = next((said for said in ("missed", "met") if said in (cpu.verdict, rss.verdict)), "")
    bound = "" if cpu.bound is None else f"{cpu.bound:g}" + ("" if rss.bound is None else f" / {rss.bound:g}")
    theirs, times = "", ""
    if outcome.theirs is not None:
        theirs = f"{outcome.theirs.cpu:.2f} / {outcome.theirs.peak_rss / MB:.0f}"
        times = f"{outcome.theirs.cpu / outcome.ours.cpu:.1f}"
    ours = f"{cpu.measured:.3f} / {rss.measured:.0f}"
    return f"{outcome.case:50} {ours:>15} {bound:>11} {verdict:6} {theirs:>15} {times:>6}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without 50,000 hosts, and without ansible on 10,000")
    parser.add_argument("--only", choices=list(SECTIONS), action="append", help="a section; may be given again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to FILE")
    given = parser.parse_args()
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - a program of its own: this is the edge
    compile_bytecode()
    on = machine()
    print(f"{now:%Y-%m-%d %H:%M} UTC, {', '.join(f'{name} {value}' for name, value in on.items())}")
    print(f"CPU seconds / peak MB\n{HEAD}", flush=True)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="fleetmedic-bench-") as name:
        environment = _environment(Path(name))
        for section in given.only or SECTIONS:
            for case in SECTIONS[section]():
                if given.quick and case.hosts > QUICK_HOSTS:
                    continue
                has_oracle = ORACLE.exists() and not (given.quick and case.hosts >= QUICK_HOSTS)
                outcomes.append(measure(case, Path(name), environment, with_oracle=has_oracle))
                print(row(outcomes[-1]), flush=True)
    if given.json:
        result = {"date": now.isoformat(), "machine": on, "cases": [_kept(outcome) for outcome in outcomes]}
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    met = all(all_met(outcome.figures) for outcome in outcomes)
    sys.exit(0 if met or given.quick else 1)


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the caller's, for both."""
    (folder / "ansible.cfg").write_text("")
    return {
        "PATH": f"{ORACLE}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
    }


def _kept(outcome: Outcome) -> dict[str, object]:
    """The numbers of a case, without what the commands printed."""
    both = {"ours": outcome.ours, "ansible": outcome.theirs}
    costs = {who: {"cpu": m.cpu, "wall": m.wall, "peak_rss": m.peak_rss} for who, m in both.items() if m is not None}
    return {"case": outcome.case, **costs, "figures": [asdict(figure) for figure in outcome.figures]}


if __name__ == "__main__":
    main()
