"""Inventories that nearly are one, in every format, for as long as one likes: each is read, or refused in one line."""

import random
import time
from collections import Counter

from controller.inventory.origins import InventoryError
from tests.controller.inventory.test_random_texts import GRAMMARS, PIECES, SECONDS, read, refuses_in_one_line, written
from tests.fuzz.inventory.grammar.names import names


def run(seconds: float, seed: int = 1) -> Counter[str]:
    """What became of them, by file name. AssertionError names the seed of one that took too long or was told badly."""
    seen: Counter[str] = Counter()
    end, number = time.monotonic() + seconds, seed * 10**6
    while time.monotonic() < end:
        number += 1
        dice = random.Random(number)
        name = dice.choice(list(GRAMMARS))
        content = _edited(name, dice)
        began = time.process_time()
        try:
            written(read(name, content))
            seen[f"{name} read"] += 1
        except InventoryError as refusal:
            refuses_in_one_line(refusal)
            seen[f"{name} refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {number}: {name}: {content!r}") from error
        assert time.process_time() - began < SECONDS, f"seed {number}: {name}: {content!r}"
    return seen


def _edited(name: str, dice: random.Random) -> bytes:
    if dice.random() < 0.1:
        return dice.randbytes(dice.randrange(300))
    text = GRAMMARS[name](dice, names(dice))
    for _ in range(dice.randrange(5)):
        at = dice.randrange(len(text) + 1)
        text = text[:at] + dice.choice(PIECES) * dice.choice((1, 1, 1, 30)) + text[at + dice.randrange(4) :]
    made = bytearray(text.encode(errors="replace"))
    for _ in range(dice.choice((0, 0, 1, 5)) if made else 0):
        made[dice.randrange(len(made))] = dice.randrange(256)
    return bytes(made)
