"""Ctrl-C over a whole change: once begins nothing more, twice leaves; between what hosts are asked, too."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from controller.fan_out import FINAL, Interrupted

T = TypeVar("T")
SIGNALS = (signal.SIGINT, *FINAL)


class Left(Exception):
    """Somebody does not wait for what was under way."""


class Hearing:
    """The signals of one change; `tell` gets the first, and how many hosts are waited for."""

    def __init__(self, tell: Interrupted) -> None:
        self.signal: signal.Signals | None = None
        self._tell = tell
        self._left = asyncio.Event()
        self._waiting = 0

    @property
    def left(self) -> bool:
        return self._left.is_set()

    def asking(self, number: signal.Signals, waiting: int) -> None:
        """The first one while hosts are applied to: the fan-out hears it, and ends them itself at the second."""
        first = self.signal is None
        self.signal = self.signal or number
        if number in FINAL:
            self._left.set()
        if first:
            self._tell(number, waiting)

    def leave(self) -> None:
        """The fan-out has heard the second."""
        self._left.set()

    async def unless_left(self, waited: Coroutine[Any, Any, T], waiting: int) -> T:
        """What comes of it. Left at the second signal, or at one that ends us."""
        loop = asyncio.get_running_loop()
        self._waiting = waiting
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._hear, number)
        task, leaving = asyncio.ensure_future(waited), asyncio.ensure_future(self._left.wait())
        try:
            await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Left
            return task.result()
        finally:
            leaving.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))

    def _hear(self, number: signal.Signals) -> None:
        if self.signal is None and number not in FINAL:
            self.signal = number
            self._tell(number, self._waiting)
        else:
            first = self.signal is None
            self.signal = self.signal or number
            self._left.set()
            if first:
                self._tell(number, 0)
