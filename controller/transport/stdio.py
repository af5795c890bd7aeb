"""The agent of this machine as a child process: framed messages on its standard streams, read only, no certificate."""

import asyncio
import os
import struct
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import BinaryIO

from google.protobuf.message import DecodeError

from controller.transport import answers
from controller.transport.answers import Intake, TooMuch
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse

LENGTH = struct.Struct(">I")
# Of what the agent says on standard error; its last line is the cause.
SAID_KEPT = 4096
# Seconds for a process that was killed to be gone; one in state D is left behind.
ENDING = 1.0
# -P: nothing from the working directory is imported.
COMMAND = (sys.executable, "-P", "-m", "agent", "check", "--stdio")


class NoAgent(Exception):
    """The agent of this machine can't be run, or broke off; one line says why."""


async def ask(
    request: LocalRequest, patience: float, command: Sequence[str] = COMMAND
) -> AsyncGenerator[LocalResponse, None]:
    """The answers of a new agent process. NoAgent where it has none, or has not given all in `patience` seconds.

    Close it (contextlib.aclosing): left to the event loop's end, the process may outlive the question.
    """
    # A pipe of our own: asyncio waits for its pipes to close, which a probe that can't be killed may hold open.
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as errors:
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=theirs
            )
        finally:
            os.close(theirs)
        async with aclosing(_answers(process, request, errors, patience)) as given:
            async for answer in given:
                yield answer


async def _answers(
    process: asyncio.subprocess.Process, request: LocalRequest, errors: BinaryIO, patience: float
) -> AsyncGenerator[LocalResponse, None]:
    assert process.stdin is not None
    assert process.stdout is not None
    body = request.SerializeToString()
    process.stdin.write(LENGTH.pack(len(body)) + body)
    process.stdin.close()
    # Beside the answer: an agent that nobody listens to stops when the pipe is full.
    listening = asyncio.create_task(_last(errors))
    intake = Intake()
    answered = False
    try:
        async with asyncio.timeout(patience):
            while (answer := await _frame(process.stdout, intake)) is not None:
                answered = True
                yield answer
            if not answered:
                raise NoAgent(_why((await listening).decode(errors="replace").strip()))
            await process.wait()
    except TimeoutError as error:
        whole = "whole answer" if answered else "answer"
        raise NoAgent(f"the agent on this machine gave no {whole} in {patience:g}s") from error
    finally:
        # Before the first await, at which a cancelled question may end.
        if process.returncode is None:
            process.kill()
        listening.cancel()
        await asyncio.wait([listening])
        with suppress(TimeoutError):
            await asyncio.wait_for(_ended(process), ENDING)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Reads what nobody wants to its end first: asyncio takes a process whose output is full for one that runs."""
    assert process.stdout is not None
    while await process.stdout.read(65536):
        pass
    await process.wait()


async def _last(errors: BinaryIO) -> bytes:
    """The end of what is said, read to its end."""
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), errors
    )
    kept = b""
    try:
        while part := await stream.read(65536):
            kept = (kept + part)[-SAID_KEPT:]
    finally:
        transport.close()
    return kept


def _why(said: str) -> str:
    if "No module named" in said:
        return "the agent is not installed beside this command: install fleetmedic with the extra [all]"
    return said.rpartition("\n")[2] or "the agent on this machine ended without an answer"


async def _frame(stream: asyncio.StreamReader, intake: Intake) -> LocalResponse | None:
    try:
        (size,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
        if size > answers.LARGEST:
            raise NoAgent(f"the agent on this machine sent a frame of {size} bytes")
        frame = intake.read(LocalResponse, await stream.readexactly(size))
        intake.admit(frame.check)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise NoAgent("the agent on this machine broke off in the middle of its answer") from error
        return None
    except TooMuch as error:
        raise NoAgent(f"the agent on this machine {error}") from error
    except DecodeError as error:
        raise NoAgent("the agent on this machine sent what is no answer") from error
    else:
        return frame
