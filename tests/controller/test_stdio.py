"""The agent of this machine as a child process: however much it says beside its answer, and however badly it ends."""

import asyncio
import sys
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from controller.transport import answers, stdio
from controller.transport.stdio import NoAgent
from fleetmedic.v1.agent_pb2 import CheckResponse
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse

HEAD = "import struct, sys, time\nsay, out = sys.stderr.write, sys.stdout.buffer\n"
FRAME = "def frame(body):\n    out.write(struct.pack('>I', len(body)) + body)\n    out.flush()\n"
WHOLE = LocalResponse(check=CheckResponse(last=True)).SerializeToString()


def ask(code: str, patience: float = 10.0) -> list[LocalResponse]:
    """Ask an agent that does this."""

    async def collect() -> list[LocalResponse]:
        command = (sys.executable, "-c", HEAD + FRAME + code)
        async with aclosing(stdio.ask(LocalRequest(), patience, command)) as given:
            return [answer async for answer in given]

    return asyncio.run(collect())


def test_an_agent_that_says_much_beside_its_answer_is_not_held_up() -> None:
    began = time.monotonic()
    made = ask(f"say('x' * 1_000_000)\nsys.stderr.flush()\nframe({WHOLE!r})")
    assert [answer.check.last for answer in made] == [True]
    assert time.monotonic() - began < 5.0


def test_the_last_line_of_what_an_agent_says_is_the_cause() -> None:
    with pytest.raises(NoAgent, match="^it is the disk$"):
        ask("say('y' * 200_000 + '\\nit is the disk\\n')")


def test_an_agent_whose_child_keeps_its_standard_error_is_not_waited_for() -> None:
    code = f"frame({WHOLE!r})\nimport subprocess\nsubprocess.Popen(['sleep', '8'], stdout=subprocess.DEVNULL)"
    began = time.monotonic()
    assert len(ask(code)) == 1
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    ("code", "said"), [("", "no answer in 0.7s"), (f"frame({WHOLE!r})\n", "no whole answer in 0.7s")]
)
def test_the_whole_answer_must_be_there_in_time(code: str, said: str) -> None:
    with pytest.raises(NoAgent, match=said):
        ask(f"{code}time.sleep(30)", 0.7)


def test_a_reader_that_has_seen_enough_ends_the_agent() -> None:
    async def first() -> LocalResponse:
        command = (sys.executable, "-c", f"{HEAD}{FRAME}say('x' * 100_000)\nframe({WHOLE!r})\ntime.sleep(30)")
        async with aclosing(stdio.ask(LocalRequest(), 20.0, command)) as given:
            async for answer in given:
                return answer
        raise AssertionError

    began = time.monotonic()
    assert asyncio.run(first()).check.last
    assert time.monotonic() - began < 5.0


def test_frames_without_end_are_too_late_too() -> None:
    began = time.monotonic()
    with pytest.raises(NoAgent, match="no whole answer in 0.7s"):
        ask("while True:\n    frame(b'')\n    time.sleep(0.05)", 0.7)
    assert time.monotonic() - began < 3.0


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f"frame(b'\\x12' + b'\\xe0\\xa7\\x12' + b'\\x32\\x00' * {150_000})", "values, which no answer has"),
        (
            f"for _ in range(3):\n    frame(b'\\x0a\\x80\\x89\\x7a' + b'\\x1a\\xfc\\x88\\x7a' + b'x' * {1_999_996})",
            "4 MiB",
        ),
        (f"out.write(struct.pack('>I', {answers.LARGEST + 1}))", f"a frame of {answers.LARGEST + 1} bytes"),
        ("frame(b'\\xff\\xff')", "what is no answer"),
        ("out.write(b'\\0\\0')", "broke off in the middle"),
    ],
)
def test_an_answer_that_is_none_or_too_much_is_refused(code: str, said: str) -> None:
    with pytest.raises(NoAgent, match=said):
        ask(code)


def test_the_agent_is_the_one_beside_this_command(tmp_path: Path) -> None:
    assert stdio.COMMAND[0] == sys.executable
    assert "-P" in stdio.COMMAND
