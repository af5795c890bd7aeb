"""Whether an agent answers under its name, asked from any thread until it does or time is up."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from controller import describing
from controller.calling import Bounds
from controller.inventory.connection import Endpoint
from controller.transport.mtls import Identity

# Seconds for a whole set-up, a call, and before the next try.
CONNECT, CALL, PAUSE = 2.0, 5.0, 0.3
# endpoint, seconds: empty where the agent answers and its worker too, else why not.
Verify = Callable[[Endpoint, float], str]


@contextmanager
def verifier(identity: Callable[[], Identity]) -> Iterator[Verify]:
    """One loop for the calls of all threads, for gRPC goes with one; there `identity` is asked for each try."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="verifying", daemon=True)
    thread.start()

    async def once(endpoint: Endpoint) -> str:
        (told,) = await describing.describe([endpoint], identity(), Bounds(1, CONNECT, CALL))
        return told.cause if told.answer is None else told.answer.worker_error

    def verify(endpoint: Endpoint, seconds: float) -> str:
        end = time.monotonic() + seconds
        while True:
            cause = asyncio.run_coroutine_threadsafe(once(endpoint), loop).result()
            if not cause or time.monotonic() > end:
                return cause
            time.sleep(PAUSE)

    try:
        yield verify
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
