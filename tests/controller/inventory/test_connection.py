"""The address and port of a host's agent."""

import pytest

from controller.inventory.connection import Endpoint, endpoint, has_agent
from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.variables import Variable


def host(**variables: object) -> Host:
    return Host("web01", {name: Variable(value, Origin("hosts.ini", 7)) for name, value in variables.items()}, ("web",))


@pytest.mark.covers("inv:I126")
@pytest.mark.parametrize(
    ("variables", "address", "port"),
    [
        ({}, "web01", 7443),
        ({"ansible_host": "192.0.2.1"}, "192.0.2.1", 7443),
        ({"ansible_host": "192.0.2.1", "ansible_ssh_host": "192.0.2.2"}, "192.0.2.2", 7443),
        ({"ansible_ssh_host": "192.0.2.2", "fleetmedic_address": "2001:db8::3"}, "2001:db8::3", 7443),
        ({"ansible_port": 2222, "ansible_ssh_port": 2223}, "web01", 7443),
        ({"ansible_port": 2222, "fleetmedic_port": 7444}, "web01", 7444),
    ],
)
def test_our_variables_win_and_the_ssh_port_is_not_the_agents(
    variables: dict[str, object], address: str, port: int
) -> None:
    assert endpoint(host(**variables)) == Endpoint("web01", address, port)


@pytest.mark.covers("inv:I126")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ansible_host", ""),
        ("ansible_host", 5),
        ("ansible_host", None),
        ("fleetmedic_address", "192.0.2.1:7443"),
        ("fleetmedic_address", "-oProxyCommand=x"),
        ("fleetmedic_address", "a\u202eb"),
        ("ansible_ssh_host", ["192.0.2.1"]),
        ("fleetmedic_port", "7443"),
        ("fleetmedic_port", True),
        ("fleetmedic_port", 0),
        ("fleetmedic_port", 65536),
        ("fleetmedic_port", 74.43),
        ("fleetmedic_port", None),
    ],
)
def test_a_value_that_is_no_address_or_port_is_refused_with_its_line(field: str, value: object) -> None:
    with pytest.raises(InventoryError, match=rf"^hosts\.ini:7: {field} .+; write .+$") as refusal:
        endpoint(host(**{field: value}))
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    ("variables", "answer"),
    [
        ({}, True),
        ({"ansible_connection": "ssh"}, True),
        ({"ansible_connection": "local"}, False),
        ({"ansible_connection": "docker"}, False),
        ({"ansible_connection": "local", "fleetmedic_port": 7443}, True),
    ],
)
def test_a_local_or_docker_connection_means_no_agent_unless_we_are_told_of_one(
    variables: dict[str, object], answer: bool
) -> None:
    assert has_agent(host(**variables)) is answer
