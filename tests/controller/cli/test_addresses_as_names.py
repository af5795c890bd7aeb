"""A host whose inventory name is an address: its certificate is believed, over real mutual TLS."""

from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from cryptography import x509

from tests.lab import agents
from tests.lab.agents import Agent, Desk
from tests.lab.waiting import free_port


@pytest.fixture(scope="module")
def numbered(desk: Desk) -> Iterator[Agent]:
    """Run the agent of a host named 127.0.0.1."""
    with agents.run(desk, "127.0.0.1", port=free_port()) as running:
        yield running


@pytest.mark.covers("sec:3.3")
def test_a_host_named_by_its_address_is_checked_and_described(desk: Desk, numbered: Agent) -> None:
    file = desk.folder / "numbered.yml"
    file.write_text(f"all: {{hosts: {{127.0.0.1: {{fleetmedic_port: {numbered.port}}}}}}}\n")
    (report,) = desk.check("-i", file, "--include", "HOST-MEM", "--json").json()["reports"]
    assert (report["host"], report["cause"]) == ("127.0.0.1", "")
    assert report["agent"]["name"] == "127.0.0.1"
    assert desk.run("describe", "-i", file).out.startswith("127.0.0.1  agent ")


@pytest.mark.covers("sec:3.3")
def test_another_address_at_that_port_is_not_believed(desk: Desk, numbered: Agent) -> None:
    file = desk.folder / "other.yml"
    file.write_text(
        f"all: {{hosts: {{127.0.0.2: {{fleetmedic_address: 127.0.0.1, fleetmedic_port: {numbered.port}}}}}}}\n"
    )
    done = desk.check("-i", file)
    assert done.code == 4
    assert "another host answers there: its certificate is not for 127.0.0.2" in done.out


@pytest.mark.covers("sec:3.3")
def test_the_certificate_has_the_address_as_one(desk: Desk) -> None:
    assert desk.run("pki", "issue", "agent", "10.0.0.5", "--dir", desk.pki, "--out", desk.folder / "ten").code == 0
    made = x509.load_pem_x509_certificate((desk.folder / "ten" / "10.0.0.5.crt").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("10.0.0.5")]
    assert names.get_values_for_type(x509.DNSName) == ["10.0.0.5"]


def test_an_ipv6_address_is_refused_with_the_mend(desk: Desk) -> None:
    done = desk.run("pki", "issue", "agent", "2001:db8::5", "--dir", desk.pki, "--out", desk.folder / "six")
    assert done.code == 77
    assert "give the host a name in the inventory, and this as its fleetmedic_address" in done.err
    assert len(done.err.splitlines()) == 1
