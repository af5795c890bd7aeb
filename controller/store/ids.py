"""Names for what is kept, easy to say over the phone."""

import sqlite3
from collections.abc import Callable, Sequence

# No 0, O, 1 or I.
# pragma: allowlist nextline secret - the letters of a run's name
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
LENGTHS = (4, 4, 4, 5, 5, 6, 8)


def free(base: sqlite3.Connection, taken: str, choose: Callable[[Sequence[str]], str]) -> str:
    """Four signs, more where those run out. `taken` is the query that finds a name; `choose` picks one at random."""
    for length in LENGTHS:
        made = "".join(choose(ALPHABET) for _ in range(length))
        if base.execute(taken, (made,)).fetchone() is None:
            return made
    raise RuntimeError("no free id found")
