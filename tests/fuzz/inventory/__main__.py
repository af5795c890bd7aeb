"""Draws inventories and patterns, asks ansible-core and us, and tells every difference that is not a deliberate one.

    python -m tests.fuzz.inventory [--draws N] [--seed FIRST] [--only SEED] [--no-shrink]

Ends with 1 where a difference is unexplained. `--only` shows the files of one seed and everything about it.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.fuzz.inventory.comparing import Difference
from tests.fuzz.inventory.drawn import Draw
from tests.fuzz.inventory.examining import Place, Told, ask, examine
from tests.fuzz.inventory.grammar import draw
from tests.fuzz.inventory.oracle import Oracle
from tests.fuzz.inventory.shrinking import shrink

DRAWS = 500
AT_ONCE = 2
TRIES = 60
"""Candidates that one difference is shrunk by, one to three runs of the oracle each."""
SHOWN_OF_A_KIND = 3
"""Differences of one cause that are shown; the first of them is shrunk."""


def run(seeds: Sequence[int], folder: Path) -> Iterator[tuple[Draw, list[Difference]]]:
    """The differences of each seed, in order. The oracle runs for two draws at once, we for one."""
    asked = Oracle(folder)
    asked.prepare()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = pool.map(lambda seed: _told(seed, folder, asked), seeds)
        for seed, answer in zip(seeds, told, strict=True):
            made = draw(seed)
            place = _place(folder, seed)
            yield made, examine(made, answer, place, asked)


def _place(folder: Path, seed: int) -> Place:
    return Place(folder / f"seed{seed}")


def _told(seed: int, folder: Path, asked: Oracle) -> Told:
    return ask(draw(seed), _place(folder, seed), asked)


def smallest(made: Draw, difference: Difference, folder: Path) -> tuple[Draw, Difference]:
    """The draw made smaller, and the difference as that one shows it."""
    asked, place = Oracle(folder), Place(folder / "shrinking")
    last = difference
    # What the difference is not about is not asked again.
    if difference.kind == "pattern":
        question = next(each for each in made.questions if (each.pattern, each.limit or "") == difference.where)
        made = replace(made, questions=(question,))
    else:
        made = replace(made, questions=())

    def keeps(candidate: Draw) -> bool:
        nonlocal last
        found = examine(candidate, ask(candidate, place, asked, with_export=difference.kind == "vars"), place, asked)
        same = [each for each in found if each.name is None and _cause(each) == _cause(difference)]
        if same:
            last = same[0]
        return bool(same)

    return shrink(made, keeps, TRIES), last


def _cause(difference: Difference) -> tuple[str, ...]:
    """What is the same in differences that are one: the kind, the variable's name or what a refusal says."""
    if difference.kind in ("refused", "vars", "hostvars"):
        return difference.kind, difference.where[-1], type(difference.theirs).__name__, type(difference.ours).__name__
    return (difference.kind,)


def _show(made: Draw, difference: Difference) -> None:
    print(f"\nunexplained, seed {made.seed}: {difference.kind} {' '.join(map(repr, difference.where))}")
    print(f"  ansible: {difference.theirs!r}\n  ours:    {difference.ours!r}")
    print(f"  sources {list(made.sources)!r}, questions {list(made.questions)!r}, broken {made.broken}")
    for file in made.files:
        print(f"  {file.path}{' (executable)' if file.is_executable else ''}")
        print("".join(f"    | {line}\n" for line in file.content.decode(errors="replace").split("\n")), end="")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--only", type=int, metavar="SEED", help="one seed, with everything about it")
    parser.add_argument("--no-shrink", action="store_true", help="show differences as they were drawn")
    given = parser.parse_args()
    seeds = [given.only] if given.only is not None else list(range(given.seed, given.seed + given.draws))
    print(f"seeds {seeds[0]} to {seeds[-1]}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fleetmedic-fuzz-") as name:
        unexplained = _report(seeds, Path(name), is_shrunk=not given.no_shrink)
    sys.exit(1 if unexplained else 0)


def _report(seeds: Sequence[int], folder: Path, *, is_shrunk: bool) -> int:
    """Print what was found; answers how many differences are unexplained."""
    deliberate: Counter[str] = Counter()
    unexplained: Counter[tuple[str, ...]] = Counter()
    equal = 0
    for made, differences in run(seeds, folder):
        equal += not differences
        deliberate.update(each.name for each in differences if each.name is not None)
        for each in differences:
            if each.name is not None:
                continue
            unexplained[_cause(each)] += 1
            if unexplained[_cause(each)] == 1 and is_shrunk:
                _show(*smallest(made, each, folder))
            elif unexplained[_cause(each)] <= SHOWN_OF_A_KIND:
                _show(made, each)
    print(f"\n{len(seeds)} draws, {equal} without any difference")
    for label, count in sorted(deliberate.items()):
        print(f"{count:6} deliberate: {label}")
    for cause, count in sorted(unexplained.items()):
        print(f"{count:6} UNEXPLAINED: {' '.join(cause)}")
    return sum(unexplained.values())


if __name__ == "__main__":
    main()
