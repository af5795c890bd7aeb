"""The rules about who issued a certificate and which file it comes from, over snapshots made by hand."""

import pytest

from fleetmedic.v1.snapshot_pb2 import Snapshot
from tests.agent.rules.judged import RULES, certificate, judge, one, status, statuses, tls

# TLS-CLIENT-CERT is about no endpoint.
NAMED = [rule for rule in RULES if rule.startswith("TLS-") and rule != "TLS-CLIENT-CERT"]


def named(snapshot: Snapshot, origin: str = "agent.toml:3") -> Snapshot:
    snapshot.target.origin = origin
    return snapshot


def chained(code: int, certificates: int = 2, **fields: str) -> Snapshot:
    chain = [certificate(90, 80, f"link {place}") for place in range(certificates)]
    return named(tls(*chain, verify_code=code, verify_text=f"code {code}", **fields))


@pytest.mark.parametrize(
    ("code", "certificates", "authorities", "bad"),
    [
        (0, 2, "", set()),
        (9, 2, "", set()),
        (10, 2, "", set()),
        (18, 1, "", {"TLS-SELF-SIGNED"}),
        (19, 2, "", {"TLS-UNKNOWN-CA"}),
        (20, 2, "", {"TLS-UNKNOWN-CA"}),
        (20, 1, "", {"TLS-UNKNOWN-CA"}),
        (20, 1, "/etc/ca.pem", {"TLS-CHAIN-INCOMPLETE"}),
        (21, 1, "/etc/ca.pem", {"TLS-CHAIN-INCOMPLETE"}),
        (2, 3, "/etc/ca.pem", {"TLS-UNKNOWN-CA"}),
        (66, 2, "", {"TLS-UNKNOWN-CA"}),
    ],
)
def test_each_word_of_openssl_is_one_finding_and_no_other(
    code: int, certificates: int, authorities: str, bad: set[str]
) -> None:
    rules = ("TLS-CHAIN-INCOMPLETE", "TLS-SELF-SIGNED", "TLS-UNKNOWN-CA")
    seen = {rule: status(rule, chained(code, certificates, authorities=authorities)) for rule in rules}
    assert {rule for rule, said in seen.items() if said == "crit"} == bad
    assert set(seen.values()) <= {"crit", "ok"}


@pytest.mark.parametrize("hint", ["issuer_url", "file"])
def test_a_leaf_alone_is_incomplete_where_something_says_what_is_missing(hint: str) -> None:
    made = chained(20, 1)
    if hint == "issuer_url":
        made.tls.chain[0].issuer_url = "http://ca.example/middle.crt"
    else:
        made.tls.file.path = "/etc/full.pem"
        made.tls.file.chain.extend([certificate(90, 80), certificate(90, 80, "middle")])
    found = one("TLS-CHAIN-INCOMPLETE", made)
    assert statuses([found]) == ["crit"]
    assert ("http://ca.example" in found.summary) or ("/etc/full.pem has 2" in found.summary)
    assert status("TLS-UNKNOWN-CA", made) == "ok"


def test_one_that_vouches_for_itself_as_agent_toml_expects_is_told_without_alarm() -> None:
    made = chained(0, 1, authorities="/etc/self.pem")
    made.tls.chain[0].issuer = made.tls.chain[0].subject
    assert status("TLS-SELF-SIGNED", made) == "info"


@pytest.mark.parametrize("rule", [rule for rule in NAMED if rule not in ("TLS-EXPIRED", "TLS-EXPIRY", "TLS-NOT-YET")])
def test_what_was_found_by_its_port_is_held_against_no_name_and_no_authority(rule: str) -> None:
    found = one(rule, named(chained(20, 1), "discovered"))
    assert (statuses([found]), found.reason.partition(":")[0]) == (["skipped"], "found by its port")


@pytest.mark.parametrize("rule", ["TLS-CHAIN-INCOMPLETE", "TLS-SELF-SIGNED", "TLS-UNKNOWN-CA"])
def test_a_chain_nobody_could_verify_is_skipped_with_why(rule: str) -> None:
    made = named(tls(certificate(90, 80), verify_text="/etc/ca.pem can't be read: No such file"))
    assert one(rule, made).reason == "/etc/ca.pem can't be read: No such file"


def served(serial: str, lying: str, **file: str) -> Snapshot:
    made = chained(0, 1)
    made.tls.chain[0].sha256 = serial
    made.tls.file.path = "/etc/site.crt"
    made.tls.file.chain.append(certificate(90, 89))
    made.tls.file.chain[0].sha256 = lying
    for name, value in file.items():
        setattr(made.tls.file, name, value)
    return made


def test_the_file_and_what_is_served_are_compared() -> None:
    assert status("TLS-FILE-VS-SERVED", served("aa", "aa")) == "ok"
    assert status("TLS-FILE-VS-SERVED", served("aa", "bb")) == "crit"
    assert status("TLS-FILE-VS-SERVED", chained(0)) == "skipped"
    assert status("TLS-FILE-VS-SERVED", served("aa", "aa", error_class="missing", error_text="gone")) == "error"
    assert one("TLS-FILE-VS-SERVED", served("aa", "aa", error_class="denied")).reason.startswith("needs root")


@pytest.mark.parametrize(
    ("error_class", "expected"),
    [("", "ok"), ("mismatch", "crit"), ("encrypted", "crit"), ("not-pem", "crit"), ("missing", "crit")],
)
def test_a_key_is_judged_by_whether_it_fits(error_class: str, expected: str) -> None:
    said = "it does not" if error_class else ""
    made = served("aa", "aa", key_path="/etc/site.key", key_error_class=error_class, key_error_text=said)
    assert status("TLS-KEY-MISMATCH", made) == expected
    # Also of a server that is down: it may be why.
    del made.tls.chain[:]
    assert status("TLS-KEY-MISMATCH", made) == expected


def test_keys_that_nobody_named_or_may_read_are_skipped() -> None:
    assert status("TLS-KEY-MISMATCH", served("aa", "aa")) == "skipped"
    assert status("TLS-KEY-MISMATCH", served("aa", "aa", key_path="/k", key_error_class="denied")) == "skipped"


@pytest.mark.parametrize(("left", "expected"), [(0.001, "ok"), (0, "crit"), (-3, "crit")])
def test_one_that_has_ended_is_critical_and_expiry_leaves_it_to_expired(left: float, expected: str) -> None:
    assert status("TLS-EXPIRED", tls(certificate(90, left))) == expected


def test_a_chain_certificate_that_has_ended_is_named_and_the_others_are_judged_all_the_same() -> None:
    made = tls(certificate(90, 5), certificate(3650, -1, "middle"))
    assert "certificate in its chain middle ended 24h00m ago" in one("TLS-EXPIRED", made).summary
    assert statuses(judge("TLS-EXPIRY", made)) == ["crit"]
