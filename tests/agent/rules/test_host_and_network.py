"""The rules about the host, certificates, names and URLs over snapshots made by hand."""

import pytest

from agent.rules.tls import tls_hostname
from fleetmedic.v1.snapshot_pb2 import KernelSnapshot, Snapshot
from tests.agent.rules.judged import (
    GIB,
    NOW,
    certificate,
    dns,
    filesystem,
    http,
    judge,
    memory,
    one,
    sample,
    status,
    statuses,
    target,
    tls,
)


@pytest.mark.parametrize(
    ("available", "size", "expected"),
    [
        (10, 100, "ok"),
        (9.99, 100, "warn"),
        (5, 100, "warn"),
        (4.99, 100, "crit"),
        (1.0, 11, "warn"),
        (0.99, 11, "crit"),
        (0.95, 9, "ok"),
        (0, 100, "crit"),
    ],
)
def test_room_is_judged_by_share_and_by_bytes(available: float, size: float, expected: str) -> None:
    assert status("HOST-DISK-SPACE", filesystem(available * GIB, size * GIB)) == expected


def test_what_is_kept_for_root_is_told_and_not_counted() -> None:
    found = one("HOST-DISK-SPACE", filesystem(0, 100 * GIB, free=5 * GIB))
    assert statuses([found]) == ["crit"]
    assert "5.0 GiB more for root" in found.summary


def test_a_filesystem_without_a_size_is_not_called_well() -> None:
    assert judge("HOST-DISK-SPACE", filesystem(0, 0)) == []


@pytest.mark.parametrize(("available", "expected"), [(100, "ok"), (99, "warn"), (50, "warn"), (49, "crit")])
def test_memory_is_judged_by_the_share_that_is_available(available: int, expected: str) -> None:
    assert status("HOST-MEM", memory(available, 1000)) == expected


def test_who_holds_most_memory_is_named_when_it_is_scarce() -> None:
    scarce = memory(1, 1000)
    scarce.memory.holders.add(pid=9, name="leaky", resident_bytes=900 * 2**20)
    assert "most by leaky (900.0 MiB)" in one("HOST-MEM", scarce).summary


@pytest.mark.parametrize(
    ("life", "left", "expected"),
    [
        (6, 2.1, "ok"),
        (6, 1.9, "warn"),
        (6, 0.61, "warn"),
        (6, 0.59, "crit"),
        (47, 15.7, "ok"),
        (47, 15.6, "warn"),
        (47, 4.8, "warn"),
        (47, 4.6, "crit"),
        (90, 21.1, "ok"),
        (90, 20.9, "warn"),
        (90, 7.1, "warn"),
        (90, 6.9, "crit"),
        (3650, 21.1, "ok"),
        (3650, 20.9, "warn"),
        (3650, 7.1, "warn"),
        (3650, 6.9, "crit"),
        (90, 0, "skipped"),
        (90, -3, "skipped"),
    ],
)
def test_a_certificate_is_due_by_days_and_by_its_share_of_life(life: float, left: float, expected: str) -> None:
    assert status("TLS-EXPIRY", tls(certificate(life, left))) == expected


def test_a_certificate_of_the_chain_counts_as_much_as_the_leaf() -> None:
    found = one("TLS-EXPIRY", tls(certificate(90, 80), certificate(3650, 5, "middle")))
    assert statuses([found]) == ["crit"]
    assert "certificate in its chain middle ends in 5d" in found.summary


def test_the_worst_of_a_chain_is_told_and_of_equals_the_first_to_end() -> None:
    found = one("TLS-EXPIRY", tls(certificate(90, 3), certificate(3650, 2, "middle"), certificate(3650, 10, "root")))
    assert "middle ends in" in found.summary
    assert len(found.table.rows) == 3


def test_an_endpoint_without_a_certificate_is_an_error_with_its_reason() -> None:
    found = one("TLS-EXPIRY", tls(error_class="refused", error_text="connection refused"))
    assert (statuses([found]), found.reason) == (["error"], "refused: connection refused")


@pytest.mark.parametrize(
    ("said", "words"),
    [("wrong version number", "speaks no TLS"), ("tlsv1 unrecognized name", "serves no certificate to one who")],
)
def test_a_port_that_only_looks_like_tls_is_skipped_and_one_that_is_named_is_an_error(said: str, words: str) -> None:
    found = tls(error_class="tls", error_text=said)
    assert status("TLS-EXPIRY", found) == "error"
    found.target.origin = "agent.toml:3"
    assert status("TLS-EXPIRY", found) == "error"
    found.target.origin = "discovered"
    assert status("TLS-EXPIRY", found) == "skipped"
    assert words in one("TLS-EXPIRY", found).reason


def test_a_discovered_port_that_fails_otherwise_is_still_an_error() -> None:
    for error_class, text in (("timeout", "no handshake in 3 s"), ("tls", "unsupported protocol")):
        found = tls(error_class=error_class, error_text=text)
        found.target.origin = "discovered"
        assert status("TLS-EXPIRY", found) == "error"


def test_what_is_no_name_says_so_and_not_that_servers_fail() -> None:
    found = one("DNS-RESOLVE", dns("not a name", "not a name"))
    assert statuses([found]) == ["crit"]
    assert "does not resolve: not a name" in found.summary
    assert "spelt" in found.next


@pytest.mark.parametrize(
    ("system", "servers", "seconds", "expected"),
    [
        ("NOERROR", ["NOERROR"], 0.5, "ok"),
        ("NOERROR", ["NOERROR"], 0.51, "warn"),
        ("NOERROR", [], 0.01, "ok"),
        ("NOERROR", ["NXDOMAIN"], 0.01, "ok"),
        ("NOERROR", ["NOERROR", "SERVFAIL"], 0.01, "warn"),
        ("NOERROR", ["timeout"], 0.01, "warn"),
        ("NXDOMAIN", ["NXDOMAIN"], 0.01, "crit"),
        ("timeout", ["timeout"], 2.0, "crit"),
        ("", [], 0.0, "crit"),
    ],
)
def test_a_name_is_judged_by_the_system_and_by_each_server(
    system: str, servers: list[str], seconds: float, expected: str
) -> None:
    assert status("DNS-RESOLVE", dns(system, *servers, seconds=seconds)) == expected


def test_a_server_that_denies_a_name_which_another_knows_is_a_warning() -> None:
    assert status("DNS-RESOLVE", dns("NOERROR", "NOERROR", "NXDOMAIN")) == "warn"
    assert status("DNS-RESOLVE", dns("NOERROR", "NXDOMAIN", "NXDOMAIN")) == "ok"


def test_the_name_server_that_fails_is_named() -> None:
    found = one("DNS-RESOLVE", dns("NOERROR", "NOERROR", "SERVFAIL"))
    assert "1 of 2 name servers fail: 10.0.0.54 answers SERVFAIL" in found.summary
    assert [row.cells[:2] for row in found.table.rows][2] == ["10.0.0.54", "SERVFAIL"]


@pytest.mark.parametrize(
    ("code", "seconds", "expected"),
    [
        (200, 1.0, "ok"),
        (200, 1.01, "warn"),
        (204, 0, "ok"),
        (302, 0, "ok"),
        (399, 0, "ok"),
        (400, 0, "crit"),
        (404, 0, "crit"),
        (503, 0, "crit"),
        (199, 0, "crit"),
        (0, 0, "crit"),
    ],
)
def test_a_url_is_judged_by_status_and_time(code: int, seconds: float, expected: str) -> None:
    assert status("HTTP-HEALTH", http(code, seconds=seconds)) == expected


def test_a_failing_sub_check_is_named_and_a_good_one_is_not() -> None:
    found = one("HTTP-HEALTH", http(503, checks={"database": "timeout", "cache": "OK", "version": "1.2"}))
    assert statuses([found]) == ["crit"]
    assert '"database: timeout"' in found.summary
    assert "cache" not in found.summary


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("database", "down"),
        ("redis", "timeout"),
        ("redis", "Timeout after 2 s"),
        ("queue", "connection refused"),
        ("queue", "error: no route to host"),
        ("status", "degraded"),
        ("db", "OUT_OF_SERVICE"),
        ("db", "not connected"),
        ("search", "failed to connect"),
        ("search", "UNHEALTHY"),
    ],
)
def test_a_sub_check_that_fails_behind_a_success_is_a_warning_that_names_it(name: str, said: str) -> None:
    found = one("HTTP-HEALTH", http(200, checks={name: said, "cache": "ok"}))
    assert statuses([found]) == ["warn"]
    assert f'"{name}: {said}"' in found.summary
    assert "cache" not in found.summary


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("version", "1.2.3"),
        ("uptime", "3h2m"),
        ("latency", "12ms"),
        ("errors", "0"),
        ("last_error", "none"),
        ("log_level", "error"),
        ("message", "no errors"),
        ("message", "failures are reported to the desk"),
        ("failover", "standby"),
        ("maintenance", "False"),
        ("region", "downtown"),
        ("commit", "deadbeef"),
        ("status", "serving"),
        ("database", "PostgreSQL"),
        ("downloads", "enabled"),
        ("time", "2024-01-01T00:00:00Z"),
    ],
)
def test_what_is_not_plainly_a_failure_behind_a_success_is_none(name: str, said: str) -> None:
    assert status("HTTP-HEALTH", http(200, checks={name: said})) == "ok"


def test_a_url_without_an_answer_says_in_which_phase_it_ended() -> None:
    found = one("HTTP-HEALTH", http(0, error_class="timeout", error_text="no answer in 5 s", phase="processing"))
    assert statuses([found]) == ["crit"]
    assert found.summary == "no answer (timeout in phase processing): no answer in 5 s"


@pytest.mark.parametrize(
    ("host", "name", "covered"),
    [
        ("shop.lab", "shop.lab", True),
        ("SHOP.lab", "shop.LAB", True),
        ("a.shop.lab", "*.shop.lab", True),
        ("a.b.shop.lab", "*.shop.lab", False),
        ("shop.lab", "*.lab", False),
        ("shop.lab", "*", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "*.0.0.1", False),
        ("fd00::1", "FD00:0:0:0:0:0:0:1", True),
        ("shop.lab", "shop.lab.evil.example", False),
    ],
)
def test_a_name_covers_a_host_as_browsers_say(host: str, name: str, covered: bool) -> None:
    assert tls_hostname.is_for(host, name) is covered


@pytest.mark.parametrize(
    ("ago", "before", "unread", "expected"),
    [
        (299, 0, "", "crit"),
        (301, 0, "", "ok"),
        (301, 5, "", "ok"),
        (301, 5, "denied", "crit"),
        (301, 9, "denied", "ok"),
    ],
    ids=["just now", "long ago", "counted, and the log knows better", "counted, without a log", "nothing new"],
)
def test_a_killing_counts_for_five_minutes_by_the_log_or_else_by_the_counter(
    ago: float, before: int, unread: str, expected: str
) -> None:
    made = KernelSnapshot(processors=2, oom_kills=9, log_unread=unread)
    if not unread:
        made.killings.add(pid=7, name="worker", constraint="memcg").time.FromSeconds(int(NOW - ago))
    snapshot = Snapshot(target=target("kernel"), kernel=made, earlier=[sample(NOW - 100, oom_kills=before)])
    assert status("HOST-OOM", snapshot) == expected


def test_a_service_with_one_health_url_is_told_and_asks_for_nobodys_attention() -> None:
    assert status("HTTP-READY-VS-LIVE", http(503)) == "info"
