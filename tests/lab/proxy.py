"""A real proxy in front of a real service, which can refuse, fall silent, trickle, delay and cut."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODES = ("pass", "refuse", "silent", "trickle", "cut", "delay")
CHUNK = 65536
# Nothing may flow in these modes: what has been read waits until the mode changes.
HELD = ("silent",)


@dataclass(frozen=True)
class Proxy:
    """A running proxy: TCP on host:port, or UNIX on `path`."""

    host: str
    port: int
    path: Path | None
    _relay: "_Relay"

    def set(self, mode: str, *, seconds: float | None = None) -> None:
        """Change the behaviour, of established connections too, and return when it holds.

        pass     forward everything
        refuse   close the listener; established connections go on
        silent   accept, and forward and answer nothing
        trickle  forward the service's answers one byte per `seconds` (0.1)
        cut      reset established connections, and new ones as they come
        delay    hold each piece `seconds` (0.1) in both directions
        """
        if mode not in MODES:
            raise ValueError(f"no mode {mode}: {', '.join(MODES)}")
        self._relay.call(self._relay.set(mode, seconds))

    def connections(self) -> int:
        """Return how many clients are connected now."""
        return len(self._relay.clients)


@contextlib.contextmanager
def run(target_host: str, target_port: int, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Proxy]:
    """Proxy TCP host:port (0: any free one) to the target, in a thread, until the block ends."""

    def listen() -> socket.socket:
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.bind(relay.address)
        return line

    async def connect() -> socket.socket:
        line = socket.socket()
        return await _connected(line, (target_host, target_port))

    relay = _Relay(listen, connect)
    relay.address = (host, port)
    with _running(relay):
        yield Proxy(host, relay.address[1], None, relay)


@contextlib.contextmanager
def run_unix(target_path: Path, path: Path) -> Iterator[Proxy]:
    """Proxy the UNIX socket `path` to the one at `target_path`, in a thread, until the block ends."""

    def listen() -> socket.socket:
        path.unlink(missing_ok=True)
        line = socket.socket(socket.AF_UNIX)
        line.bind(str(path))
        return line

    async def connect() -> socket.socket:
        return await _connected(socket.socket(socket.AF_UNIX), str(target_path))

    relay = _Relay(listen, connect)
    try:
        with _running(relay):
            yield Proxy("", 0, path, relay)
    finally:
        path.unlink(missing_ok=True)


async def _connected(line: socket.socket, address: Any) -> socket.socket:
    line.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(line, address)
    except BaseException:
        line.close()
        raise
    return line


@contextlib.contextmanager
def _running(relay: "_Relay") -> Iterator[None]:
    thread = threading.Thread(target=relay.serve, name="lab-proxy", daemon=True)
    thread.start()
    relay.started.wait(5)
    if relay.failed:
        raise relay.failed
    try:
        yield
    finally:
        relay.call(relay.stop())
        thread.join(5)


class _Relay:
    """What runs in the thread: one event loop, a listener, and two pumps per connection."""

    def __init__(self, listen: Callable[[], socket.socket], connect: Callable[[], Awaitable[socket.socket]]) -> None:
        self.listen = listen
        self.connect = connect
        self.address: tuple[str, int] = ("", 0)
        self.mode = "pass"
        self.seconds = 0.1
        self.clients: dict[asyncio.Task[None], socket.socket] = {}
        self.listener: socket.socket | None = None
        self.accepting: asyncio.Task[None] | None = None
        self.started = threading.Event()
        self.failed: OSError | None = None

    def serve(self) -> None:
        """Run the loop; the body of the thread."""
        asyncio.run(self._serve())

    def call(self, action: Coroutine[Any, Any, None]) -> None:
        """Run `action` in the loop from another thread, and wait for it."""
        asyncio.run_coroutine_threadsafe(action, self.loop).result(5)

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Condition()
        self.ended = asyncio.Event()
        try:
            self._open()
        except OSError as failed:
            self.failed = failed
            return
        finally:
            self.started.set()
        await self.ended.wait()
        await self._close()
        for task in list(self.clients):
            task.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)

    async def stop(self) -> None:
        self.ended.set()

    async def set(self, mode: str, seconds: float | None) -> None:
        async with self.changed:
            self.mode, self.seconds = mode, 0.1 if seconds is None else seconds
            self.changed.notify_all()
        if mode == "refuse":
            await self._close()
        elif self.listener is None:
            self._open()
        if mode == "cut":
            for task, line in list(self.clients.items()):
                _arm_reset(line)
                task.cancel()
            await asyncio.gather(*self.clients, return_exceptions=True)

    def _open(self) -> None:
        listener = self.listen()
        listener.setblocking(False)
        listener.listen(128)
        if listener.family == socket.AF_INET:
            self.address = listener.getsockname()  # the same port again after a refusal
        self.listener = listener
        self.accepting = self.loop.create_task(self._accept(listener))

    async def _close(self) -> None:
        if self.listener is not None and self.accepting is not None:
            self.accepting.cancel()
            await asyncio.gather(self.accepting, return_exceptions=True)
            self.listener.close()
            self.listener = None

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self.loop.sock_accept(listener)
            task = self.loop.create_task(self._relay(client))
            self.clients[task] = client
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self.clients.pop(task).close()
        if not task.cancelled():
            task.exception()

    async def _relay(self, client: socket.socket) -> None:
        await self._until_free()
        if self.mode == "cut":
            _arm_reset(client)
            return
        server = await self.connect()
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(client, server, answers=False))
                pumps.create_task(self._pump(server, client, answers=True))
        finally:
            server.close()

    async def _pump(self, source: socket.socket, sink: socket.socket, *, answers: bool) -> None:
        while data := await self.loop.sock_recv(source, CHUNK):
            while data:
                await self._until_free()
                piece = data[:1] if self.mode == "trickle" and answers else data
                if self.mode == "delay" or (self.mode == "trickle" and answers):
                    await asyncio.sleep(self.seconds)
                    await self._until_free()
                await self.loop.sock_sendall(sink, piece)
                data = data[len(piece) :]
        await self._until_free()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    async def _until_free(self) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.mode not in HELD)


def _arm_reset(line: socket.socket) -> None:
    """Have the next close() send a reset instead of an orderly end."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
