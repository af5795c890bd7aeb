"""The one place where any exception is caught: what happens inside is reported, never passed on."""

import os
import traceback
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def contain(act: Callable[[], T], failed: Callable[[Exception], T]) -> T:
    """The result of `act`, or what `failed` makes of its exception."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - the boundary: a bug in one probe, rule or call must not end the agent
        return failed(error)


def where(error: BaseException) -> str:
    """Type and place of an exception, without its text, which may hold secrets."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119 - a name, no file
    return f"{type(error).__name__}{place}"
