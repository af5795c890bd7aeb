"""A program: a real worker whose operations halt at the moment that is written in FOLDER/halt.

    python -m tests.lab.halting_worker CONFIG FOLDER

FOLDER/halted gets the pid of one that has; it goes on when FOLDER/halt is gone.
"""

import os
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from agent import config, local, registry, zygote
from agent.check import Medic
from agent.identity import identity


def _halt(folder: Path, moment: str) -> None:
    with suppress(FileNotFoundError):
        if (folder / "halt").read_text() != moment:
            return
        fresh = folder / "halting"
        fresh.write_text(str(os.getpid()))
        fresh.rename(folder / "halted")
        while (folder / "halt").exists():
            time.sleep(0.005)


def main(file: Path, folder: Path) -> None:
    os.umask(0o077)
    rules = registry.load()
    read = config.load(file, rules, {})
    medic = Medic(identity(read.name, time.time()), read, rules, partial(_halt, folder))
    local.prepare_folders(medic)
    zygote.run(medic)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
