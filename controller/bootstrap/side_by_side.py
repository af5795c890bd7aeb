"""Works on many hosts at once, in threads, and gives each one ending; Ctrl-C once begins no more, twice leaves."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

from controller.ssh import Destination, Session, Trust, connected

T = TypeVar("T")
R = TypeVar("R")


class Sessions:
    """Those that are open, so that all can be hung up at once."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._open: set[Session] = set()
        self._lock = threading.Lock()
        self.left = False

    @contextmanager
    def open(self, to: Destination) -> Iterator[Session]:
        """SshError as `connected` has it."""
        with connected(to, self._trust) as session:
            with self._lock:
                self._open.add(session)
            try:
                if self.left:
                    session.hang_up()
                yield session
            finally:
                with self._lock:
                    self._open.discard(session)

    def leave(self) -> None:
        """Whatever is under way breaks; the hosts undo it themselves."""
        self.left = True
        with self._lock:
            for session in self._open:
                session.hang_up()


class SideBySide(Generic[T, R]):
    """`work` on each item in at most `forks` threads. It must not raise but for a bug."""

    def __init__(self, work: Callable[[T], R], forks: int, leave: Callable[[], None]) -> None:
        self._work = work
        self._forks = forks
        self._leave = leave
        self.signal: signal.Signals | None = None

    def run(
        self, items: Mapping[str, T], watch: Callable[[R], None], interrupted: Callable[[signal.Signals, int], None]
    ) -> dict[str, R]:
        """By name what came of each; one that was not begun when Ctrl-C came has nothing."""
        with ThreadPoolExecutor(self._forks) as pool:
            names = {pool.submit(self._work, item): name for name, item in items.items()}
            made: dict[str, R] = {}
            waiting = set(names)
            while waiting:
                try:
                    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        waiting.discard(future)
                        made[names[future]] = future.result()
                        watch(made[names[future]])
                except KeyboardInterrupt as error:
                    waiting -= self._interrupt(error, waiting)
                    if self._first:
                        interrupted(self.signal or signal.SIGINT, len(waiting))
        return made

    def _interrupt(self, error: KeyboardInterrupt, waiting: "set[Future[R]]") -> "set[Future[R]]":
        """Those that are not begun, and now never will be."""
        number = getattr(error, "number", signal.SIGINT)
        self._first = self.signal is None
        self.signal = self.signal or signal.Signals(number)
        if not self._first or number != signal.SIGINT:
            self._leave()
        return {future for future in waiting if future.cancel()}
