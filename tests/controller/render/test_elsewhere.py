"""A check for channels, CI and Nagios: short, well formed, and harmless whatever a host says."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import snoozing
from controller.endings import State
from controller.host_report import HostReport
from controller.render import check_junit, check_nagios, check_paste, escape
from controller.snoozing import NONE, Rest
from controller.store.runs import Run
from controller.store.snoozes import About, Snooze
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_INFO, STATUS_WARN
from tests.controller import reports
from tests.controller.reports import NEWER, NOW, answered, finding, run, silent, skipped

hostile = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    [
        "@channel down",
        "x@here",
        "<!channel>",
        "<!subteam^S1|ops> look",
        "<https://evil.example|click>",
        "a | b\nOK - all well | x=1",
        "]]></failure><testsuite>",
        "\x1b[2J\x07\x00\ufffe\uffff",
        "\u202egnp.exe\u2066",
        "＠here ＠everyone",
        "password=hunter2hunter2",
    ]
)


def bad_run(*texts: str) -> Run:
    """A run in which every text of a host is one of these."""
    found = [finding(f"A-{number}", STATUS_CRIT, text, text, text, text) for number, text in enumerate(texts)]
    for item, text in zip(found, texts, strict=True):
        item.excerpt = item.equal_command = item.reason = text
    warns = finding(texts[0], STATUS_WARN, summary=texts[0])
    return run(
        answered("db01", *found, warns), silent("db02", cause=texts[0]), answered("db03", skipped("A", texts[0]))
    )


def snoozed(whole: Run, host: str, identity: str, reason: str = "in hand") -> tuple[Run, Rest]:
    about = (About(host, "tls", "host", "api.example.com:443", STATUS_CRIT),)
    held = Snooze("K4TP", identity, "", reason, "alice", NOW - 60, NOW + 7200, about)
    return snoozing.apply(whole, (held,), NOW)


@pytest.mark.covers("exp:paste")
def test_a_paste_is_worst_first_with_totals_and_run_last() -> None:
    assert check_paste.lines(reports.forty_hosts()) == [
        "fleetmedic check of all at 2024-01-15 14:39:56Z",
        'CRIT app07,11  HTTP-HEALTH  backend: 503 from /health/ready: "database: timeout"',
        "CRIT db01  PG-CONN-SATURATION  postgres: 98/100 used (98%, limit 90%): 61 idle in transaction, oldest 8m12s,"
        " all from...",
        "UNREACHABLE cache02  TCP 7443 refused: no agent listens there",
        "WARN lb01,02  TLS-EXPIRY  tls: api.example.com expires in 11d (limit 14d)",
        "services affected: backend (2/20), postgres (1/1)",
        "40 hosts:  34 ok  2 warn  3 failed  1 unreachable   run 7F3K",
        "all of it: fleetmedic runs show 7F3K",
    ]


@pytest.mark.covers("exp:paste")
def test_a_paste_says_how_much_did_not_fit_and_what_is_snoozed() -> None:
    many = [finding(f"A-{number:02d}", STATUS_CRIT, summary="long " * 60) for number in range(40)]
    lb = answered("lb01", finding("TLS-EXPIRY", STATUS_WARN, "tls", "api.example.com:443"))
    lines = check_paste.lines(*snoozed(run(answered("db01", *many), lb), "lb01", "TLS-EXPIRY"))
    assert len(lines) == 15
    assert lines[10] == "... and 31 more like these"
    assert sum(line.startswith("CRIT db01") for line in lines) + 31 == 40
    assert lines[11] == "snoozed: TLS-EXPIRY on lb01 by alice for 2h more (in hand)"
    assert max(map(len, lines)) <= 120


@pytest.mark.covers("exp:paste")
@settings(max_examples=150, deadline=None)
@given(st.lists(hostile, min_size=1, max_size=30))
def test_a_paste_pings_nobody_and_holds_no_sign_that_a_channel_acts_on(texts: list[str]) -> None:
    lines = check_paste.lines(bad_run(*texts))
    assert len(lines) <= 15
    for line in lines:
        assert len(line) <= 120
        assert not re.search(r"[@＠](channel|here|everyone)\b|<[!@#]|<\S+>", line), line
        assert line == escape.line(line)
        assert "hunter2" not in line


@pytest.mark.covers("exp:paste")
@pytest.mark.parametrize(
    "secret",
    [
        "postgres://shop:hunter2@db/orders",
        "redis://:hunter2@cache:6379/0",
        "https://hunter2@example.net/",
        "DB_PASSWORD=hunter2",
        '{"api_key": "hunter2"}',
        "--token hunter2 --verbose",
        "Authorization: Bearer hunter2hunter2",
        "eyJhunter2hbGciOi.eyJhunter2.sig",
        "AKIAHUNTER2HUNTER2",
        "ghp_hunter2hunter2hunter2",
        "key hunter2hunter2hunter2hunter2hunter2hunter2",
        "-----BEGIN PRIVATE KEY----- hunter2",
    ],
)
def test_a_paste_holds_nothing_that_looks_like_a_secret(secret: str) -> None:
    whole = run(answered("db01", finding("A-B", STATUS_CRIT, summary=f"refused: {secret}")))
    assert "hunter2" not in "\n".join(check_paste.lines(whole)).lower()


@pytest.mark.parametrize(
    "text",
    [
        "session 203 (orders@shop from local, application nightly-report; idle in transaction for 2m04s) blocks 5",
        "/var/lib/postgresql/15/main/pg_wal is 93% full (limit > 90%)",
        "503 from https://orders.example.net/health/ready: token bucket is empty",
    ],
)
def test_a_paste_keeps_what_is_no_secret(text: str) -> None:
    assert check_paste.harmless(text) == text


@pytest.mark.covers("exp:junit", "exp:R25")
def test_junit_has_a_suite_for_each_host_and_a_case_for_each_check() -> None:
    well = answered(
        "web01",
        finding("HOST-MEM"),
        finding("A-I", STATUS_INFO),
        finding("A-W", STATUS_WARN, summary="11d left"),
        finding("A-C", STATUS_CRIT, summary="is full", next_step="fleetmedic check {host}"),
        finding("A-E", STATUS_ERROR, summary="could not look"),
        finding("A-N", NEWER),
        skipped("A-S", "needs root"),
    )
    top = ElementTree.fromstring(check_junit.document(run(well, silent("db01")), NONE))
    first, second = top
    counts = {name: first.get(name) for name in ("name", "hostname", "tests", "failures", "errors", "skipped")}
    assert counts == {
        "name": "web01",
        "hostname": "web01",
        "tests": "7",
        "failures": "1",
        "errors": "2",
        "skipped": "1",
    }
    assert [(case.get("name"), [child.tag for child in case]) for case in first.iter("testcase")] == [
        ("HOST-MEM host memory", []),
        ("A-I host memory", []),
        ("A-W host memory", []),
        ("A-C host memory", ["failure"]),
        ("A-E host memory", ["error"]),
        ("A-N host memory", ["error"]),
        ("A-S host memory", ["skipped"]),
    ]
    failure, skip = first.find(".//failure"), first.find(".//skipped")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("is full", "is full\nnext: fleetmedic check web01")
    assert skip is not None
    assert skip.get("message") == "needs root"
    assert first.findtext("system-out") == "warn: A-W host memory: 11d left"
    assert [(case.get("name"), case[0].tag, case[0].get("message")) for case in second.iter("testcase")] == [
        ("agent answers", "error", "TCP 7443 refused")
    ]


@pytest.mark.covers("exp:junit", "exp:snooze")
def test_junit_skips_what_is_snoozed_with_its_reason() -> None:
    lb = answered("lb01", finding("TLS-EXPIRY", STATUS_CRIT, "tls", "api.example.com:443"))
    top = ElementTree.fromstring(check_junit.document(*snoozed(run(lb), "lb01", "TLS-EXPIRY")))
    skip = top.find(".//skipped")
    assert skip is not None
    assert skip.get("message") == "snoozed: in hand, by alice until 16:40Z (2h left)"
    assert top[0].get("failures") == "0"


# What the Ant schema asks for; every part, in its order.
PARTS = ["properties", "testcase", "system-out", "system-err"]
NEEDED = {"name", "package", "id", "hostname", "timestamp", "tests", "failures", "errors", "time"}


@pytest.mark.covers("exp:junit", "sec:B7")
@settings(max_examples=150, deadline=None)
@given(st.lists(hostile, min_size=1, max_size=8))
def test_junit_is_well_formed_and_of_its_schema_whatever_a_host_says(texts: list[str]) -> None:
    text = check_junit.document(bad_run(*texts), NONE)
    top = ElementTree.fromstring(text.encode())
    assert [suite.get("id") for suite in top] == ["0", "1", "2"]
    for suite in top:
        tags = [child.tag for child in suite]
        assert sorted(tags, key=PARTS.index) == tags
        assert tags.count("system-out") == tags.count("system-err") == tags.count("properties") == 1
        assert set(suite.keys()) >= NEEDED
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))
        for case in suite.iter("testcase"):
            assert set(case.keys()) == {"name", "classname", "time"}
            assert case.get("name")
            assert len(case) <= 1
            assert all(child.tag == "skipped" or child.get("type") for child in case)
    assert len(top[0].findall("testcase/failure")) == len(texts)


@pytest.mark.covers("exp:nagios", "exp:R25")
@pytest.mark.parametrize(
    ("hosts", "code", "word"),
    [
        ((answered("a", finding()),), 0, "OK"),
        ((answered("a", finding("A-B", STATUS_WARN)),), 1, "WARNING"),
        ((answered("a", finding("A-B", STATUS_CRIT)),), 2, "CRITICAL"),
        ((silent("a"), answered("b", finding("A-B", STATUS_WARN))), 2, "CRITICAL"),
        ((silent("a", State.TIMEOUT),), 2, "CRITICAL"),
        ((answered("a", finding("A-B", STATUS_ERROR)), answered("b", finding("A-B", STATUS_WARN))), 3, "UNKNOWN"),
        ((answered("a", finding("A-B", STATUS_ERROR), finding("C-D", STATUS_CRIT)),), 2, "CRITICAL"),
        ((answered("a", finding("A-B", NEWER)),), 3, "UNKNOWN"),
        ((silent("a", State.CANCELLED),), 3, "UNKNOWN"),
        ((answered("a", finding()), silent("b", State.SKIPPED)), 0, "OK"),
    ],
)
def test_nagios_gets_the_codes_of_a_plugin(hosts: tuple[HostReport, ...], code: int, word: str) -> None:
    whole = run(*hosts)
    assert check_nagios.code(whole) == code
    assert check_nagios.text(whole, NONE).startswith(f"FLEETMEDIC {word} - ")


PERFORMANCE = re.compile(r"(?:[a-z_]+=\d+(?:\.\d+)?s?;;;0(?:;\d+)? ?)+")


@pytest.mark.covers("exp:nagios", "sec:B7")
@settings(max_examples=150, deadline=None)
@given(st.lists(hostile, min_size=1, max_size=40))
def test_nagios_output_has_one_bar_however_a_host_tries(texts: list[str]) -> None:
    text = check_nagios.text(bad_run(*texts), NONE)
    assert text.count("|") == 1
    first, *rest = text.split("\n")
    assert PERFORMANCE.fullmatch(first.partition(" | ")[2]), first
    assert len(rest) <= 33
    assert max(map(len, rest)) <= 200
    assert text.encode()
    assert not re.search("[\x00-\x09\x0b-\x1f<>\u202e]", text)
    assert len(text.encode()) < 32_768


@pytest.mark.covers("exp:nagios")
def test_nagios_names_the_worst_in_its_first_line_and_all_in_the_long_output() -> None:
    first, *rest = check_nagios.text(reports.forty_hosts(), NONE).splitlines()
    assert first == (
        "FLEETMEDIC CRITICAL - 40 hosts: 34 ok, 2 warn, 3 failed, 1 unreachable; CRIT app07 HTTP-HEALTH backend: 503"
        ' from /health/ready: "database: timeout" | hosts=40;;;0 ok=34;;;0;40 warn=2;;;0;40 failed=3;;;0;40'
        " unreachable=1;;;0;40 not_checked=0;;;0;40 snoozed=0;;;0;40 checks=60;;;0 time=3.400s;;;0"
    )
    assert [line.split()[:2] for line in rest] == [
        ["CRIT", "app07"],
        ["CRIT", "app11"],
        ["CRIT", "db01"],
        ["UNREACHABLE", "cache02"],
        ["WARN", "lb01"],
        ["WARN", "lb02"],
        ["run", "7F3K:"],
    ]


@pytest.mark.covers("exp:nagios", "exp:snooze")
def test_nagios_is_told_what_is_snoozed() -> None:
    lb = answered("lb01", finding("TLS-EXPIRY", STATUS_CRIT, "tls", "api.example.com:443"))
    text = check_nagios.text(*snoozed(run(lb), "lb01", "TLS-EXPIRY", "a | b"))
    assert text.startswith("FLEETMEDIC OK - 1 host: 1 snoozed | ")
    assert "\nSNOOZED lb01 TLS-EXPIRY: a / b, by alice until 16:40Z (2h left)\n" in text
