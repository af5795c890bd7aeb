"""How much one agent may send: what is over it is refused unparsed, and what is allowed costs little."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from controller import describing, fleet
from controller.calling import Bounds
from controller.endings import State
from controller.host_report import HostReport
from controller.transport import answers
from controller.transport.answers import Intake, TooMuch
from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse, DescribeResponse
from tests.controller import odd_agents, reports
from tests.controller.odd_agents import Call
from tests.lab.authority import Authority

ROOT = Path(__file__).parents[2]
BOUNDS = Bounds(32, 1.5, 5.0)
EMPTY_FINDING = b"\x32\x00"
# The dearest of all fields: a sample with one empty entry in its map.
EMPTY_ENTRY = b"\x3a\x04\x2a\x02\x12\x00"
MILLISECONDS = 50
MEGABYTES = 60


def field(number: int, body: bytes) -> bytes:
    """Give a field that holds these bytes, as the wire has it."""
    return _number(number << 3 | 2) + _number(len(body)) + body


def _number(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _number(rest) if rest else bytes([low])


def filled(head: bytes, size: int) -> bytes:
    """Fill a message up to this size with one summary."""
    return head + field(6, field(4, b"x" * (size - len(head) - 12)))


# Each is allowed, and nothing dearer is: so many fields as may be, and text up to the last byte.
WORST: dict[str, Callable[[], list[bytes]]] = {
    "findings": lambda: [EMPTY_FINDING * answers.MOST_FINDINGS],
    "metrics": lambda: [
        field(6, EMPTY_FINDING * (answers.UNCOUNTED // 2 - 10)),
        filled(field(6, EMPTY_FINDING * (answers.MOST_FIELDS - 10)), answers.LARGEST - answers.UNCOUNTED),
    ],
    "maps": lambda: [
        EMPTY_ENTRY * (answers.UNCOUNTED // len(EMPTY_ENTRY)),
        filled(EMPTY_ENTRY * (answers.MOST_FIELDS // 3 - 10), answers.LARGEST - answers.UNCOUNTED),
    ],
}


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize("kind", WORST)
def test_the_worst_answer_that_is_allowed_costs_little_time_and_memory(kind: str) -> None:
    code = (
        "import resource, sys, time\n"
        "from tests.controller.test_answer_limits import WORST, Intake, CheckResponse, fleet\n"
        "parts = WORST[sys.argv[1]]()\n"
        "before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()\n"
        "seen = fleet.Seen(b'')\n"
        "for part in parts:\n"
        "    seen.take(part, 0.0)\n"
        "spent = time.process_time() - began\n"
        "print(1000 * spent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = [
        subprocess.run([sys.executable, "-c", code, kind], cwd=ROOT, capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    measured = [tuple(map(float, each.stdout.split())) for each in done]
    assert min(spent for spent, _ in measured) < MILLISECONDS, measured
    assert max(grown for _, grown in measured) < MEGABYTES, measured


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([EMPTY_FINDING * (answers.LARGEST // 2)], "values"),
        ([field(6, EMPTY_FINDING * (answers.LARGEST // 2 - 10))], "values"),
        ([field(6, b"\x10\x01" * (answers.LARGEST // 2 - 10))], "values"),
        ([b"\x9b\x06\x9c\x06" + EMPTY_FINDING * (answers.LARGEST // 2 - 10)], "values"),
        ([EMPTY_FINDING * (answers.MOST_FINDINGS + 1)], "findings"),
        ([EMPTY_FINDING * (answers.MOST_FINDINGS // 2 + 1)] * 2, "findings"),
        ([filled(b"", 2_000_000)] * 3, "4 MiB"),
    ],
)
def test_more_than_an_answer_may_hold_is_refused(parts: list[bytes], said: str) -> None:
    seen = fleet.Seen(b"")
    for part in parts[:-1]:
        seen.take(part, 0.0)
    with pytest.raises(TooMuch, match=f"{said}, which no answer has"):
        seen.take(parts[-1], 0.0)


@pytest.mark.covers("sec:B7")
def test_what_is_refused_is_refused_before_it_is_parsed() -> None:
    # Well formed as far as it is counted, and none at its end: the parser would say so.
    data = EMPTY_FINDING * answers.MOST_FIELDS * 2 + b"\x32\x00\xff"
    with pytest.raises(TooMuch):
        Intake().read(CheckResponse, data)


# A request id that is long enough to have the fields beside it counted.
LONG = field(1, b"x" * 81_920)


@given(st.lists(st.sampled_from([b"\x32\x00", b"\x0b\x0c", b"\xff" * 11, b"\x0a\x7f", b"\x07", b"\x32\x02\x32\x00"])))
def test_what_is_no_answer_is_none_however_long(parts: list[bytes]) -> None:
    data = b"".join(parts)
    try:
        small = Intake().read(CheckResponse, data)
    except DecodeError:
        with pytest.raises(DecodeError):
            Intake().read(CheckResponse, LONG + data)
    else:
        large = Intake().read(CheckResponse, LONG + data)
        assert len(large.findings) == len(small.findings)


@given(st.integers(0, 40), st.integers(0, 40))
def test_every_field_is_counted_the_nested_ones_too(findings: int, metrics: int) -> None:
    made = CheckResponse(last=True, request_id="r" * 300)
    for _ in range(findings):
        one = made.findings.add(id="A-B")
        for _ in range(metrics):
            one.metrics.add(name="used", value=0.5, unit="ratio")
    assert answers.count(made.SerializeToString(), CheckResponse, 10**6) == 2 + findings * (2 + metrics * 4)


@pytest.mark.covers("sec:B7")
def test_an_agent_that_floods_us_fails_alone_and_says_how(authority: Authority) -> None:
    def flood(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        yield CheckResponse(findings=[reports.finding()]).SerializeToString()
        yield EMPTY_FINDING * 2_000_000

    def well(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        yield CheckResponse(last=True, findings=[reports.finding()]).SerializeToString()

    names = [f"evil{number}" for number in range(8)]
    with odd_agents.serving(authority, names, flood) as evil, odd_agents.serving(authority, ["good"], well) as good:

        async def collect() -> list[HostReport]:
            asked = {endpoint: CheckRequest().SerializeToString() for endpoint in (*evil, *good)}
            return [report async for report in fleet.check(asked, odd_agents.identity(authority), BOUNDS)]

        made = {report.host: report for report in asyncio.run(collect())}
    assert made.pop("good").state == State.OK
    assert {(report.state, len(report.answer.findings)) for report in made.values()} == {(State.FAILED, 1)}
    assert {report.cause for report in made.values()} == {
        f"sent more than {answers.MOST_FIELDS} values, which no answer has: not read to its end"
    }


@pytest.mark.covers("sec:B7")
def test_a_description_that_floods_us_is_refused(authority: Authority) -> None:
    huge = DescribeResponse.DESCRIPTOR.fields_by_name["rules"].number

    def flood(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        yield field(huge, b"") * 1_000_000

    with odd_agents.serving(authority, ["evil"], flood) as evil:
        (made,) = asyncio.run(describing.describe(evil, odd_agents.identity(authority), BOUNDS))
    assert made.answer is None
    assert "values, which no answer has" in made.cause
