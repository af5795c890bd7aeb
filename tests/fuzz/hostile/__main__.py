"""Malformed requests, hostile answers and broken inventories at full size: about twenty-five minutes.

    python tests/lab/sandbox.py .venv/bin/python -m tests.fuzz.hostile [--part N] [--seed N] [--only SECTION]

`--part 20` does a twentieth. Ends with 1, and the seed or the bytes, at the first that is not taken as it should be.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tests.fuzz.hostile import answers, messages, sources
from tests.lab import agents, authority, sandbox

REQUESTS = 100_000
WORKER_CALLS = 5_000
ANSWERS = 10_000
SECONDS = 600.0


def sections(part: float, seed: int, folder: Path, now: datetime) -> Mapping[str, Callable[[], Counter[str]]]:
    def worker() -> Counter[str]:
        with agents.run(agents.desk(folder / "desk"), "db01", port=7443) as agent:
            made = messages.to_worker(int(WORKER_CALLS / part), agent.folder / "run" / "worker.sock", seed)
            with agents.fleet(agents.Desk(folder / "desk"), [agent]) as fleet:
                assert fleet.check("--include", "HOST-*").code in (0, 1, 2)
            return made

    return {
        f"{int(REQUESTS / part)} requests to each method": lambda: messages.to_front(
            int(REQUESTS / part), folder / "front", now, seed
        ),
        f"{int(REQUESTS / part)} frames": lambda: messages.to_frames(int(REQUESTS / part), seed),
        f"{int(WORKER_CALLS / part)} callers of a worker": worker,
        f"{int(ANSWERS / part)} answers": lambda: answers.run(
            int(ANSWERS / part), authority.root(now), folder / "answers", seed
        ),
        f"{SECONDS / part:g} s of inventories": lambda: sources.run(SECONDS / part, seed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=float, default=1.0, help="20 for a twentieth of everything")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="WORD", help="sections with this word")
    given = parser.parse_args()
    if not sandbox.inside():
        raise SystemExit("run this in the sandbox: python tests/lab/sandbox.py .venv/bin/python -m tests.fuzz.hostile")
    for name, run in sections(given.part, given.seed, sandbox.LAB, datetime.now(UTC)).items():  # noqa: TID251 - the rim
        if given.only not in name:
            continue
        began = time.monotonic()
        try:
            made = run()
        except (messages.Broken, AssertionError) as broken:
            print(f"{name}: {broken!r} {broken.__cause__!r}")
            sys.exit(1)
        told = ", ".join(f"{count} {what}" for what, count in sorted(made.items()))
        print(
            f"{name}, seed {given.seed}, {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}: {told}",
            flush=True,
        )


if __name__ == "__main__":
    main()
