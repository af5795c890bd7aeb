"""Reading audit logs of odd and hostile agents, and holding them to the chain and to the heads that were kept."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import auditing
from controller.audit_chain import Verdict, Verifier
from controller.auditing import LARGEST_RECORD, Read
from controller.calling import Bounds
from controller.endings import State
from controller.render import audit_text
from controller.render.escape import HOSTILE
from controller.store.audit_heads import Head
from fleetmedic.v1.agent_pb2 import AuditResponse, DescribeResponse, Standing
from tests.controller import odd_agents
from tests.controller.odd_agents import Answer, Call
from tests.lab.authority import Authority

AT = 1_700_000_000.0


def chained(count: int, first: int = 1, previous: bytes = bytes(32), **more: object) -> list[AuditResponse]:
    """Make records as an agent of ours writes them; `more` stands in the last."""
    made = []
    for sequence in range(first, first + count):
        fields = {"sequence": sequence, "user": "alice", **(more if sequence == first + count - 1 else {})}
        record = json.dumps(fields, separators=(",", ":")).encode()
        previous = hashlib.sha256(previous + record).digest()
        made.append(AuditResponse(sequence=sequence, hash=previous, record=record))
    return made


def verdict(messages: Sequence[AuditResponse], *heads: Head, told: int = 0) -> Verdict:
    verifier = Verifier(heads)
    for message in messages:
        verifier.take(message)
    return verifier.verdict(told)


def head(message: AuditResponse, hash_: bytes | None = None) -> Head:
    return Head("db01", message.sequence, message.hash if hash_ is None else hash_, AT, "7F3K")


def test_a_log_that_is_whole_has_no_flaw_and_the_heads_that_were_kept() -> None:
    log = chained(5)
    found = verdict(log, head(log[1]), head(log[4]))
    assert (found.flaws, found.first, found.last, found.hash, found.heads) == ((), 1, 5, log[4].hash, 2)
    assert verdict([], told=0).flaws == ()


@pytest.mark.covers("sec:R11")
def test_what_an_editor_does_in_the_middle_breaks_the_chain() -> None:
    log = chained(5)
    log[2].record = log[2].record.replace(b"alice", b"carol")
    assert verdict(log).flaws == ("record 3 is not what was written",)
    assert verdict([*chained(5)[:2], *chained(5)[3:]]).flaws == ("record 4 follows record 2",)
    assert verdict([*chained(5)[:2], AuditResponse(record=b"\0"), *chained(5)[2:]]).flaws == (
        "a line that is no record follows record 2",
    )


@pytest.mark.covers("sec:R11")
def test_a_log_whose_end_was_cut_lacks_a_head_that_was_kept() -> None:
    log = chained(5)
    assert verdict(log[:3], head(log[4]), told=3).flaws == (
        "was cut or rewritten: had record 5 on 2023-11-14T22:13:20Z (run 7F3K), has 3",
    )
    assert verdict(log[:3], told=5).flaws == ("was cut: the agent wrote record 5, and the log ends with 3",)


@pytest.mark.covers("sec:R11")
def test_a_log_that_was_made_anew_with_right_hashes_has_another_head() -> None:
    assert verdict(chained(5), head(chained(3)[2], bytes(32))).flaws == (
        "record 3 is not the one that it had on 2023-11-14T22:13:20Z (run 7F3K)",
    )


# What a log of the tests has before the record that says that others were pruned.
LEFT = 300


def held(messages: Sequence[AuditResponse], *heads: Head) -> tuple[str, ...]:
    verifier = Verifier(heads, LEFT)
    for message in messages:
        verifier.take(message)
    return verifier.verdict(messages[-1].sequence).flaws


@pytest.mark.covers("sec:R11")
def test_old_records_may_be_missing_where_a_later_one_says_that_they_were_pruned() -> None:
    old = chained(3)
    left = chained(6, 4, old[-1].hash, pruned=[3, old[-1].hash.hex()])
    assert held(left) == held(left, head(old[1]), head(left[0])) == held(left, head(left[-1])) == ()
    (said,) = held(chained(6, 4, old[-1].hash))
    assert said == "records 1 to 3 are missing, and no later one says that they were pruned"
    lying = chained(6, 4, old[-1].hash, pruned=[3, "00" * 32])
    assert len(held(lying)) == 1


@pytest.mark.covers("sec:R11")
def test_a_log_that_says_it_was_pruned_and_has_less_than_pruning_leaves_is_not_believed() -> None:
    before = b"?" * 32
    forged = chained(1, 5000, before, pruned=[4999, before.hex()])
    forged += chained(2, 5001, forged[-1].hash)
    for heads in ((), (head(chained(40)[-1]),)):
        (said,) = verdict(forged, *heads, told=5002).flaws
        assert said == "records 1 to 4999 are missing, and no later one says that they were pruned"


@pytest.mark.covers("sec:R11")
def test_a_log_as_long_as_pruning_leaves_has_a_head_that_was_kept_before_it_was_pruned() -> None:
    before, kept = b"?" * 32, head(chained(40)[-1])
    forged = chained(6, 5000, before, pruned=[4999, before.hex()])
    # The last is a head as the next check keeps it of a log that was written anew.
    for heads in ((kept,), (kept, head(forged[-1]))):
        (said,) = held(forged, *heads)
        assert said == (
            "was rewritten, or not looked at for long: had record 40 on 2023-11-14T22:13:20Z (run 7F3K),"
            " and has no kept head of before it was pruned"
        )


records = st.builds(
    AuditResponse,
    sequence=st.integers(0, 2**64 - 1),
    hash=st.binary(max_size=40),
    record=st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(["sequence", "pruned", "user", "time", "detail"]),
        st.none() | st.integers() | st.text(max_size=9) | st.lists(st.integers() | st.text(max_size=70), max_size=3),
        max_size=4,
    ).map(lambda made: json.dumps(made).encode()),
)


@pytest.mark.covers("sec:B7", "sec:B5")
@given(st.lists(records, max_size=8))
def test_whatever_a_log_holds_is_judged_and_shown_harmless(messages: list[AuditResponse]) -> None:
    verdict(messages)
    for message in messages:
        item = audit_text.entry("db01", message)
        assert audit_text.csv_row("db01", message).count("\n") == 0
        assert not HOSTILE.search(audit_text.csv_row("db01", message))
        assert audit_text.exported("db01", message).isascii()
        assert len(json.dumps(audit_text.record(item))) < 40_000


def test_a_record_nested_without_end_is_none() -> None:
    deep = AuditResponse(sequence=1, record=b"[" * 60_000)
    assert verdict([deep]).flaws == ("a line that is no record follows record 0",)


# Agents.


def described(standing: Standing) -> Answer:
    def answer(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        yield DescribeResponse(methods=["Audit"], standing=standing).SerializeToString()

    return answer


def read(authority: Authority, answer: Answer, audit: Answer) -> tuple[Read, list[AuditResponse]]:
    taken: list[AuditResponse] = []
    with odd_agents.serving(authority, ["db01"], answer, audit) as (endpoint,):
        reading = auditing.read({endpoint: taken.append}, None, odd_agents.identity(authority), Bounds(8, 1.5, 20.0))
        (found,) = asyncio.run(reading)
    return found, taken


def streaming(*messages: bytes) -> Answer:
    def answer(_: bytes, call: Call) -> Iterator[bytes]:
        yield from messages

    return answer


def test_records_go_one_by_one_to_whoever_takes_them(authority: Authority) -> None:
    log = chained(3)
    found, taken = read(
        authority, described(Standing(audit_sequence=3)), streaming(*[item.SerializeToString() for item in log])
    )
    assert (found.state, found.records, found.standing.audit_sequence, taken) == (State.OK, 3, 3, log)


def test_an_agent_of_an_older_version_has_no_log(authority: Authority) -> None:
    found, _ = read(authority, streaming(DescribeResponse().SerializeToString()), streaming())
    assert (found.state, found.cause) == (State.FAILED, auditing.NO_LOG)


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize(
    ("message", "said"),
    [
        (AuditResponse(record=b"x" * LARGEST_RECORD).SerializeToString(), "which no log has"),
        (b"\xff\xff\xff", "sent what is no answer"),
    ],
)
def test_what_no_log_holds_is_not_read_to_its_end(authority: Authority, message: bytes, said: str) -> None:
    found, taken = read(authority, described(Standing(audit_sequence=1)), streaming(message))
    assert (found.state, said in found.cause, taken) == (State.FAILED, True, [])


@pytest.mark.covers("sec:B7")
def test_a_log_without_end_is_cut_off_by_the_deadline_and_kept_nowhere(authority: Authority) -> None:
    def endless(_: bytes, call: Call) -> Iterator[bytes]:
        row = AuditResponse(sequence=1, record=b"x" * 60_000).SerializeToString()
        while call.is_active():
            yield row

    found, _ = read_only(authority, endless)
    assert found.state == State.FAILED
    assert "sent more than 80 MiB of records, which no log has" in found.cause


def read_only(authority: Authority, audit: Answer) -> tuple[Read, int]:
    count = [0]

    def take(_: AuditResponse) -> None:
        count[0] += 1

    with odd_agents.serving(authority, ["db01"], described(Standing(audit_sequence=1)), audit) as (endpoint,):
        reading = auditing.read({endpoint: take}, None, odd_agents.identity(authority), Bounds(8, 1.5, 60.0))
        (found,) = asyncio.run(reading)
    return found, count[0]
