"""What the host's owner should mend: told in every reply while it lasts, and once in the log."""

from collections.abc import Callable
from threading import Lock

Say = Callable[[str], None]


class Alarms:
    """One sentence for each kind of trouble. `say` writes a line of the log."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._lock = Lock()
        self._standing: dict[str, str] = {}

    def set(self, kind: str, sentence: str) -> None:
        """Raises or, with an empty sentence, ends the alarm of a kind. The same one again is not said again."""
        with self._lock:
            before = self._standing.pop(kind, "")
            if sentence:
                self._standing[kind] = sentence
        if sentence and sentence != before:
            self._say(f"alarm: {sentence}")
        elif before and not sentence:
            self._say(f"no alarm any more: {before}")

    def standing(self, kind: str) -> bool:
        with self._lock:
            return kind in self._standing

    def all(self) -> list[str]:
        with self._lock:
            return sorted(self._standing.values())
