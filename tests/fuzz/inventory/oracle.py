"""Asks ansible-core, always as a process of its own with nothing of the caller's environment."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.inventory.drawn import Question

BIN = Path(__file__).parents[3] / ".cache" / "oracle" / "bin"
"""Where `make .cache/oracle/.installed` puts the programs."""
SECONDS = 60.0
_HOST = "    "


@dataclass(frozen=True)
class Answer:
    """What one run said. `listing` is None and `hosts` empty where it is not about them."""

    exit_code: int
    errors: str
    listing: dict[str, Any] | None = None
    hosts: tuple[str, ...] = ()

    @property
    def unmatched(self) -> bool:
        """Whether a term of the pattern or the limit matched nothing."""
        return "Could not match supplied host pattern" in self.errors


@dataclass(frozen=True)
class Oracle:
    """The installed programs, and a folder for their home and working directory."""

    folder: Path

    def prepare(self) -> None:
        """Make the folders; raises FileNotFoundError where the programs are not installed."""
        if not (BIN / "ansible-inventory").exists():
            raise FileNotFoundError(f"{BIN}: ansible-core is not installed here; run make .cache/oracle/.installed")
        for name in ("home", "cwd"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "ansible.cfg").write_text("")

    def listing(self, sources: Sequence[str], *, export: bool = False) -> Answer:
        """`ansible-inventory --list`, with the variables where they are written if `export`."""
        done = self._run(["ansible-inventory", *_named(sources), "--list", *(["--export"] if export else [])], seed=1)
        try:
            listing = json.loads(done.stdout)
        except ValueError:
            listing = None
        return Answer(done.returncode, done.stderr, listing)

    def hosts(self, sources: Sequence[str], question: Question, *, seed: int = 1) -> Answer:
        """`ansible PATTERN --list-hosts`, in the order that this seed of its hashes gives."""
        limit = [] if question.limit is None else ["--limit", question.limit]
        done = self._run(["ansible", *_named(sources), *limit, "--list-hosts", "--", question.pattern], seed=seed)
        names = tuple(line.removeprefix(_HOST) for line in done.stdout.splitlines() if line.startswith(_HOST))
        return Answer(done.returncode, done.stderr, None, names)

    def _run(self, command: Sequence[str], *, seed: int) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_DEPRECATION_WARNINGS": "0",
            "PYTHONHASHSEED": str(seed),
        }
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.folder / "cwd",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            check=False,
        )


def _named(sources: Sequence[str]) -> list[str]:
    return [word for source in sources for word in ("-i", source)]
