"""Faults of certificates, names and health URLs, found by a real agent over mutual TLS."""

from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.coverage import Evidence
from tests.lab import agents, child, dns_server, redis, webapp
from tests.lab import nginx as web
from tests.lab.agents import Desk, Fleet
from tests.lab.authority import Authority, Files
from tests.lab.nginx import Nginx
from tests.lab.postgres import Postgres
from tests.lab.waiting import until
from tests.lab.webapp import WebApp

DAY = timedelta(days=1)


@pytest.mark.covers("chk:TLS-EXPIRY")
@pytest.mark.parametrize(
    ("begins", "ends", "status", "said"),
    [
        (-80 * DAY, 15 * DAY, "warn", "ends in 14d"),
        (-86 * DAY, 4 * DAY, "crit", "ends in 3d"),
    ],
)
def test_a_served_certificate_that_ends_soon_is_named(
    site: Fleet,
    folder: Path,
    nginx: Nginx,
    authority: Authority,
    evidence: Evidence,
    begins: timedelta,
    ends: timedelta,
    status: str,
    said: str,
) -> None:
    evidence.well("TLS-EXPIRY", site.findings("--include", "TLS-EXPIRY"), name=f"127.0.0.1:{nginx.tls_port}")

    files = authority.issue("old.lab", dns=["old.lab"], begins=begins, ends=ends).write(folder)
    with other_site(folder, files):
        found = site.findings("--include", "TLS-EXPIRY")

    expiry = evidence.fault("TLS-EXPIRY", found, name="127.0.0.1:8443")
    assert expiry["status"] == status
    assert "old.lab" in expiry["summary"]
    assert said in expiry["summary"]


def other_site(folder: Path, files: Files) -> AbstractContextManager[Nginx]:
    return web.run(
        folder, tls_port=8443, http_port=8081, backend_port=8000, certificate=files.certificate, key=files.key
    )


@pytest.mark.covers("chk:DNS-RESOLVE")
@pytest.mark.parametrize("fault", ["nxdomain", "servfail", "silent"])
def test_a_name_that_does_not_resolve_is_named_with_what_each_server_says(
    site: Fleet, folder: Path, evidence: Evidence, fault: str
) -> None:
    asked = agents.asking(site, fleetmedic_dns=["db.lab"])
    with (
        dns_server.run({"db.lab": ("127.0.0.1",)}, host="127.0.0.53", port=53) as server,
        dns_server.resolver(folder / "resolv.conf", ["127.0.0.53"]),
    ):
        well = asked.findings("--include", "DNS-RESOLVE")
        evidence.well("DNS-RESOLVE", well, name="db.lab")

        server.set(fault)
        found = asked.findings("--include", "DNS-RESOLVE")

    bad = evidence.fault("DNS-RESOLVE", found, name="db.lab")
    assert bad["status"] == "crit"
    assert f"127.0.0.53 {'timeout' if fault == 'silent' else fault.upper()}" in bad["summary"]


@pytest.mark.covers("chk:DNS-RESOLVE", "exp:E17")
def test_hosts_that_get_other_addresses_for_a_name_are_named(desk: Desk, site: Fleet, folder: Path) -> None:
    def odd(fleet: Fleet) -> list[str]:
        return [item["summary"] for item in fleet.findings("--include", "DNS-RESOLVE") if item["kind"] == "fleet"]

    addresses = [f"127.0.3.{number}" for number in range(1, 8)]
    with (
        agents.run(desk, "web05", port=7475) as second,
        agents.fleet(desk, [*site.agents, second]) as fleet,
        dns_server.run({"db.lab": addresses}, host="127.0.0.53", port=53) as server,
        dns_server.resolver(folder / "resolv.conf", ["127.0.0.53"]),
    ):
        asked = agents.asking(fleet, fleetmedic_dns=["db.lab"])
        assert odd(asked) == []
        server.set("rotate")
        # By chance both may get the same one.
        said = until("they differ", lambda: odd(asked), seconds=20)
    assert len(said) == 2
    assert "as on 1 of 2; and there is no usual one" in said[0]


@pytest.mark.covers("chk:HTTP-HEALTH")
def test_a_health_url_that_fails_names_the_sub_check(
    site: Fleet, folder: Path, postgres: Postgres, evidence: Evidence
) -> None:
    with redis.run(folder, port=6395) as cache, webapp.run(folder, port=8010, postgres=postgres, redis=cache) as app:
        asked = agents.asking(site, fleetmedic_http={"orders": f"{app.url}/health/ready"})
        evidence.well("HTTP-HEALTH", asked.findings("--include", "HTTP-HEALTH"), service="orders")

        with child.stopped(cache.pid):
            found = asked.findings("--include", "HTTP-HEALTH")

    bad = evidence.fault("HTTP-HEALTH", found, service="orders")
    assert "503" in bad["summary"]
    assert "redis:" in bad["summary"]


@pytest.mark.covers("chk:TLS-NOT-YET", "chk:TLS-HOSTNAME", "exp:E18")
def test_a_certificate_of_tomorrow_or_of_another_name_is_named(
    desk: Desk, folder: Path, nginx: Nginx, authority: Authority, evidence: Evidence
) -> None:
    ports = (nginx.tls_port, 8443)
    config = "".join(f'\n[[tls_endpoint]]\naddress = "localhost:{port}"\n' for port in ports)
    files = authority.issue("old.lab", dns=["old.lab"], begins=DAY, ends=9 * DAY).write(folder)
    with (
        other_site(folder, files),
        agents.run(desk, "named", port=7468, config=config) as agent,
        agents.fleet(desk, [agent]) as fleet,
    ):
        found = fleet.findings("--include", "TLS-*")

    for rule, said in (
        ("TLS-NOT-YET", "is not valid for another 23h"),
        ("TLS-HOSTNAME", "not for localhost, but for old"),
    ):
        evidence.well(rule, found, name=f"localhost:{nginx.tls_port}")
        bad = evidence.fault(rule, found, name="localhost:8443")
        assert (bad["status"], said in bad["summary"]) == ("crit", True)
    unnamed = [item for item in found if item["id"] == "TLS-HOSTNAME" and item["name"] == f"127.0.0.1:{nginx.tls_port}"]
    assert [item["status"] for item in unnamed] == ["skipped"]


@pytest.mark.covers("chk:HTTP-READY-VS-LIVE", "exp:E3")
def test_a_process_that_lives_without_its_dependency_is_told_from_one_that_hangs(
    site: Fleet, folder: Path, postgres: Postgres, evidence: Evidence
) -> None:
    with redis.run(folder, port=6395) as cache, webapp.run(folder, port=8011, postgres=postgres, redis=cache) as app:
        asked = agents.asking(site, fleetmedic_http=[f"{app.url}/health/live", f"{app.url}/health/ready"])
        evidence.well("HTTP-READY-VS-LIVE", asked.findings("--include", "HTTP-*"))
        with child.stopped(cache.pid):
            dependency = evidence.fault("HTTP-READY-VS-LIVE", asked.findings("--include", "HTTP-*"))
        with child.stopped(app.pid):
            process = evidence.fault("HTTP-READY-VS-LIVE", asked.findings("--include", "HTTP-*"))

    assert "the process lives and a dependency of it fails: 503" in dependency["summary"]
    assert "redis:" in dependency["summary"]
    assert "the process itself fails" in process["summary"]


@pytest.mark.covers("chk:HTTP-HEALTH")
def test_an_application_that_hangs_is_a_timeout_while_processing(site: Fleet, webapp: WebApp) -> None:
    asked = agents.asking(site, fleetmedic_http={"orders": f"{webapp.url}/health/live"})

    with child.stopped(webapp.pid):
        found = asked.findings("--include", "HTTP-HEALTH")

    assert found[0]["status"] == "crit"
    assert "timeout in phase processing" in found[0]["summary"]


@pytest.mark.covers("sec:probe_allow")
def test_a_request_can_not_point_probes_outside_probe_allow(site: Fleet) -> None:
    asked = agents.asking(
        site, fleetmedic_http={"meta": "http://169.254.169.254/latest/"}, fleetmedic_tls=["10.0.0.1:22"]
    )

    found = asked.findings("--include", "HTTP-HEALTH", "--include", "TLS-EXPIRY")

    refused = [item for item in found if item["status"] == "skipped" and "probe_allow" in item["reason"]]
    assert len(refused) == 2
