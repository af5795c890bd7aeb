"""What one seed stands for: files, the sources that name them, and the questions about them."""

from dataclasses import dataclass
from pathlib import Path

ROOT = "ROOT/"
"""Stands, in sources and limits, for the folder that a draw is written to."""


@dataclass(frozen=True)
class File:
    """One file. `for_oracle` is what the oracle gets where we read on purpose what it does not."""

    path: str
    content: bytes
    is_executable: bool = False
    for_oracle: bytes | None = None


@dataclass(frozen=True)
class Question:
    """A pattern, and a limit to it."""

    pattern: str
    limit: str | None = None


@dataclass(frozen=True)
class Draw:
    """An inventory of one or more sources and questions about it.

    `broken` names the kind of the one fault in it, for which we must refuse the whole inventory.
    """

    seed: int
    files: tuple[File, ...]
    sources: tuple[str, ...]
    questions: tuple[Question, ...]
    broken: str | None = None

    @property
    def is_read_leniently(self) -> bool:
        return any(file.for_oracle is not None for file in self.files)

    def write(self, folder: Path, *, for_oracle: bool = False) -> None:
        """Write the files below the folder."""
        for file in self.files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            is_mended = for_oracle and file.for_oracle is not None
            path.write_bytes(file.for_oracle if is_mended and file.for_oracle is not None else file.content)
            path.chmod(0o755 if file.is_executable else 0o644)


def placed(text: str, folder: Path) -> str:
    """A source or a limit with the folder's path in it."""
    return text.replace(ROOT, f"{folder}/")
