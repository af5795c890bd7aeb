"""Reads an executable source: runs it with --list (and --host NAME), bounded in time and output, never in a shell."""

import json
import time
from collections.abc import Mapping
from errno import ENOEXEC
from pathlib import Path

from controller.inventory import program
from controller.inventory.draft import Draft
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources import script_answer, text

SECONDS = 30.0
"""For all calls of one script together."""
MAX_BYTES = text.MAX_BYTES
MAX_COMPLAINT = 64 * 1024
"""Of what it writes on standard error the rest is thrown away."""


def read(path: Path, draft: Draft, seconds: float = SECONDS) -> bool:
    """Add a script's groups, hosts and variables to the draft; False where the file is no program at all.

    Raises InventoryError where it fails, takes longer than that, or answers something else than JSON.
    """
    script = _Script(path, seconds)
    try:
        listed = script.ask("--list")
    except OSError as error:
        if error.errno == ENOEXEC:
            return False
        raise InventoryError(f"{path}: can't be run: {error.strerror}; mend it, or take its x bit away") from None
    script_answer.take(listed, str(path), draft, lambda host: script.ask("--host", host))
    return True


class _Script:
    """One program and what is left of its time."""

    def __init__(self, path: Path, seconds: float) -> None:
        # A bare name would be looked for in PATH.
        self._command = str(path.absolute())
        self._shown = str(path)
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def ask(self, *words: str) -> Mapping[str, object]:
        """Its answer to these arguments; empty where it says nothing to --host."""
        output = self._run(words)
        if not output.strip() and words[0] == "--host":
            return {}
        what = " ".join(words)
        try:
            answer = json.loads(text.decoded(output, self._shown), object_pairs_hook=self._table)
        except (ValueError, RecursionError):
            raise self._wrong(f"its answer to {what} is not JSON", "print one JSON object, and nothing else") from None
        if not isinstance(answer, dict):
            raise self._wrong(f"its answer to {what} is no JSON object", 'print {"group": {"hosts": [...]}}')
        return answer

    def _table(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            double = next(name for name in table if names.count(name) > 1)
            raise self._wrong(f"key {shown(double)} stands twice in its answer", "print each once")
        return table

    def _run(self, words: tuple[str, ...]) -> bytes:
        try:
            ended = program.run([self._command, *words], self._until, MAX_BYTES, MAX_COMPLAINT)
        except program.TooSlow:
            raise self._too_slow() from None
        except program.TooMuch:
            raise self._wrong(f"it prints more than {MAX_BYTES // 1024**2} MiB", "print the inventory alone") from None
        if code := ended.code:
            complaint = ended.complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
            why = f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
            raise self._wrong(f"{why}{f', saying {shown(complaint)}' if complaint else ''}", "mend the script")
        return ended.output

    def _too_slow(self) -> InventoryError:
        return self._wrong(
            f"it took longer than {self._seconds:g}s",
            "make it faster, answer _meta in --list, or keep its answer in a file",
        )

    def _wrong(self, what: str, mend: str) -> InventoryError:
        return InventoryError.at(Origin(self._shown, 0), f"the script: {what}", mend)
