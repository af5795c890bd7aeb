"""The agent of this machine as a child process: framed messages on its standard streams, read only, no certificate."""

import asyncio
import struct
import sys
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError

from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse

LENGTH = struct.Struct(">I")
LARGEST = 4 * 1024 * 1024
# -P: nothing from the working directory is imported.
COMMAND = (sys.executable, "-P", "-m", "agent", "check", "--stdio")


class NoAgent(Exception):
    """The agent of this machine can't be run, or broke off; one line says why."""


async def ask(request: LocalRequest, patience: float) -> AsyncIterator[LocalResponse]:
    """The answers of a new agent process. NoAgent where it ends without one, or says nothing for `patience` seconds."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    body = request.SerializeToString()
    process.stdin.write(LENGTH.pack(len(body)) + body)
    process.stdin.close()
    answered = False
    try:
        async with asyncio.timeout(patience):
            while (answer := await _frame(process.stdout)) is not None:
                answered = True
                yield answer
            said = (await process.stderr.read(4096)).decode(errors="replace").strip()
            await process.wait()
    except TimeoutError as error:
        raise NoAgent(f"the agent on this machine gave no answer in {patience:g}s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not answered:
        raise NoAgent(_why(said))


def _why(said: str) -> str:
    if "No module named" in said:
        return "the agent is not installed beside this command: install fleetmedic with the extra [all]"
    return said.rpartition("\n")[2] or "the agent on this machine ended without an answer"


async def _frame(stream: asyncio.StreamReader) -> LocalResponse | None:
    try:
        (size,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
        if size > LARGEST:
            raise NoAgent(f"the agent on this machine sent a frame of {size} bytes")
        return LocalResponse.FromString(await stream.readexactly(size))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise NoAgent("the agent on this machine broke off in the middle of its answer") from error
        return None
    except DecodeError as error:
        raise NoAgent("the agent on this machine sent what is no answer") from error
