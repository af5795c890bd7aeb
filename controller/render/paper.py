"""Where text goes: a terminal with its width and colours, or a file or pipe, which gets plain whole lines."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

COLOURS = {"crit": "31;1", "error": "35;1", "unreach": "35;1", "warn": "33;1", "ok": "32", "info": "36", "dim": "2"}
SIGNS = {"crit": "✗", "error": "?", "unreach": "?", "warn": "!", "ok": "✓", "info": "i", "skipped": "-"}
ASCII_SIGNS = {"crit": "x", "error": "?", "unreach": "?", "warn": "!", "ok": "+", "info": "i", "skipped": "-"}
WIDEST = 110
NARROWEST = 60


@dataclass(frozen=True, slots=True)
class Paper:
    """`terminal` decides folding and wrapping; `colour` and `unicode` what a line may hold."""

    stream: TextIO
    terminal: bool
    colour: bool
    unicode: bool
    width: int

    def write(self, text: str = "") -> None:
        self.stream.write(self.plain(text) + "\n")

    def plain(self, text: str) -> str:
        return text if self.unicode else text.encode("ascii", "replace").decode()

    def sign(self, word: str) -> str:
        return (SIGNS if self.unicode else ASCII_SIGNS)[word]

    def paint(self, text: str, word: str) -> str:
        code = COLOURS.get(word) if self.colour else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text

    def hanging(self, head: str, text: str, indent: int, visible: int) -> None:
        """A line that begins with `head` (`visible` signs wide) and goes on under `indent`, wrapped on a terminal."""
        if not self.terminal:
            self.write(f"{head}{text}")
            return
        first = max(20, self.width - visible)
        parts = textwrap.wrap(text, first, break_long_words=False, break_on_hyphens=False) or [""]
        rest = " ".join(parts[1:])
        self.write(f"{head}{parts[0]}")
        for part in textwrap.wrap(rest, max(20, self.width - indent), break_long_words=False, break_on_hyphens=False):
            self.write(" " * indent + part)


def paper(
    stream: TextIO, environment: Mapping[str, str], columns: int, *, no_colour: bool, ascii_only: bool = False
) -> Paper:
    """`ascii_only` where the locale knows no more, whatever the stream's encoding says."""
    terminal = stream.isatty()
    colour = terminal and not no_colour and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    encoding = (stream.encoding or "ascii").lower().replace("-", "")
    unicode = encoding.startswith("utf") and not (ascii_only and terminal)
    return Paper(stream, terminal, colour, unicode, max(NARROWEST, min(WIDEST, columns)))
