"""A program: a real front in a process of its own, whose check is accepted and then says nothing for some seconds.

    python -m tests.agent.slow_front FOLDER SECONDS

FOLDER gets operator.crt and operator.key to call it with; it prints its port, and `asked` when a check has begun.
"""

import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc

from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse
from fleetmedic.v1.agent_pb2_grpc import AgentServiceServicer
from tests.agent import front


class _Slow(AgentServiceServicer):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def Check(self, request: CheckRequest, context: grpc.ServicerContext) -> Iterator[CheckResponse]:
        context.send_initial_metadata(())
        print("asked", flush=True)
        end = time.monotonic() + self._seconds
        while context.is_active() and time.monotonic() < end:
            time.sleep(0.05)
        yield CheckResponse(last=True)


def main(folder: Path, seconds: float) -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    folder.mkdir(parents=True, exist_ok=True)
    with front.run(folder, now, service=_Slow(seconds)) as running:  # type: ignore[abstract]
        front.operator(running.operators, "observer").write(folder, "operator")
        print(f"port {running.port}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
