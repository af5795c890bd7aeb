"""Wrong certificates, keys and files behind a real nginx, found by a real agent over mutual TLS."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.coverage import Evidence
from tests.lab import agents
from tests.lab import authority as certificates
from tests.lab import nginx as web
from tests.lab.agents import Desk, Fleet
from tests.lab.authority import Authority, Files
from tests.lab.nginx import Nginx

DAY = timedelta(days=1)
PORT = 8444
GOOD, BAD = "localhost:443", f"localhost:{PORT}"


@pytest.fixture(scope="module")
def place(lab: Path) -> Iterator[Path]:
    """Make the folder of the second site's files, which agent.toml names before they are there."""
    made = lab / "second-site"
    made.mkdir(mode=0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def named(desk: Desk, lab: Path, place: Path, nginx: Nginx) -> Iterator[Fleet]:
    """Run an agent that knows both sites by name, with the authority and the files of each."""
    assert nginx.tls_port == 443
    config = "".join(
        f"""
[[tls_endpoint]]
service = "shop"
address = "{address}"
ca = "{lab / "site" / "certificate.root.crt"}"
certificate = "{folder / "certificate.crt"}"
key = "{folder / "certificate.key"}"
"""
        for address, folder in ((GOOD, lab / "site"), (BAD, place))
    )
    with agents.run(desk, "edge", port=7471, config=config) as agent, agents.fleet(desk, [agent]) as fleet:
        yield fleet


def ended(authority: Authority, place: Path) -> Files:
    return authority.issue("localhost", dns=["localhost"], begins=-90 * DAY, ends=-DAY).write(place)


def self_signed(authority: Authority, place: Path) -> Files:
    return certificates.self_signed(authority.now, "localhost", dns=["localhost"]).write(place)


def leaf_only(authority: Authority, place: Path) -> Files:
    middle = authority.subordinate("lab intermediate")
    return middle.issue("localhost", dns=["localhost"]).write(place, chain=False)


def of_strangers(authority: Authority, place: Path) -> Files:
    middle = certificates.root(authority.now, "strangers").subordinate("their intermediate")
    return middle.issue("localhost", dns=["localhost"]).write(place)


def good(authority: Authority, place: Path) -> Files:
    return authority.issue("localhost", dns=["localhost"]).write(place)


def nothing_after(authority: Authority, place: Path) -> None:
    """Leave the files as they are served."""


def renewed(authority: Authority, place: Path) -> None:
    """Put a new pair in their place, and do not reload."""
    good(authority, place)


def other_key(authority: Authority, place: Path) -> None:
    files = authority.issue("other").write(place / "other")
    (place / "certificate.key").write_bytes(files.key.read_bytes())


@pytest.mark.covers(
    "chk:TLS-EXPIRED",
    "chk:TLS-SELF-SIGNED",
    "chk:TLS-CHAIN-INCOMPLETE",
    "chk:TLS-UNKNOWN-CA",
    "chk:TLS-FILE-VS-SERVED",
    "chk:TLS-KEY-MISMATCH",
    "exp:E18",
)
@pytest.mark.parametrize(
    ("rule", "made", "after", "said"),
    [
        ("TLS-EXPIRED", ended, nothing_after, "certificate localhost ended 24h"),
        ("TLS-SELF-SIGNED", self_signed, nothing_after, "is signed by itself"),
        ("TLS-CHAIN-INCOMPLETE", leaf_only, nothing_after, "without the certificate of lab intermediate"),
        ("TLS-UNKNOWN-CA", of_strangers, nothing_after, "issued by strangers"),
        ("TLS-FILE-VS-SERVED", good, renewed, "second-site/certificate.crt has serial"),
        ("TLS-KEY-MISMATCH", good, other_key, "is the key of another certificate"),
    ],
)
def test_each_wrong_certificate_is_one_finding_and_no_other(
    named: Fleet,
    folder: Path,
    place: Path,
    authority: Authority,
    evidence: Evidence,
    rule: str,
    made: Callable[[Authority, Path], Files],
    after: Callable[[Authority, Path], None],
    said: str,
) -> None:
    files = made(authority, place)
    with web.run(
        folder, tls_port=PORT, http_port=8082, backend_port=8000, certificate=files.certificate, key=files.key
    ):
        after(authority, place)
        found = named.findings("--include", "TLS-*")

    evidence.well(rule, found, name=GOOD)
    bad = evidence.fault(rule, found, name=BAD)
    assert bad["status"] == "crit"
    assert said in bad["summary"]
    assert {item["id"] for item in found if item["status"] in ("warn", "crit", "error")} == {rule}


@pytest.mark.covers("chk:TLS-CLIENT-CERT")
@pytest.mark.parametrize(
    ("begins", "ends", "status", "said"),
    [(-46 * DAY, 44 * DAY, "warn", "ends in 43d"), (-84 * DAY, 6 * DAY, "crit", "ends in 5d")],
)
def test_the_agent_s_own_certificate_past_half_of_its_life_is_told_by_the_agent_itself(
    desk: Desk, evidence: Evidence, begins: timedelta, ends: timedelta, status: str, said: str
) -> None:
    with agents.run(desk, "aging", port=7472) as agent, agents.fleet(desk, [agent]) as fleet:
        evidence.well("TLS-CLIENT-CERT", fleet.findings("--include", "TLS-CLIENT-CERT"))
        own = certificates.loaded(desk.pki / "agent-ca.crt", desk.pki / "agent-ca.key", authority_now())
        own.issue(agent.name, dns=[agent.name], begins=begins, ends=ends).write(agent.folder, agent.name)
        bad = evidence.fault("TLS-CLIENT-CERT", fleet.findings("--include", "TLS-CLIENT-CERT"))
    assert (bad["status"], bad["next"].endswith("fleetmedic agent renew aging")) == (status, True)
    assert said in bad["summary"]


def test_an_agent_without_a_certificate_of_its_own_skips_that_check(desk: Desk) -> None:
    done = desk.check("--include", "TLS-CLIENT-CERT", "--json").json()
    (found,) = done["reports"][0]["findings"]
    assert (found["status"], "has no [tls]" in found["reason"]) == ("skipped", True)


def authority_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - certificates that age by the host's own clock
