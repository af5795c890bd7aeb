"""The agent.toml of a host: accepted by the agent as it is, whatever the inventory holds."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import config, registry
from controller.inventory.graph import Host
from controller.inventory.loading import load
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.services.agent_toml import render
from controller.inventory.variables import Variable
from tests.controller.inventory.layout import write

FILES = config.TlsFiles(
    Path("/var/lib/fleetmedic/identity/agent.crt"),
    Path("/var/lib/fleetmedic/identity/agent.key"),
    Path("/etc/fleetmedic/operator-ca.crt"),
)
VARIABLES = """
fleetmedic_services: [shop, carts]
fleetmedic_shop_http: http://127.0.0.1:8000/ready?a="b"
fleetmedic_shop_page: http://127.0.0.1:8080/
fleetmedic_shop_dependency: [mail.example.net:25, https://pay.example.net/]
fleetmedic_shop_tls: shop.example.net:443
fleetmedic_shop_dns: db.example.net
fleetmedic_shop_containers: shop-app
fleetmedic_shop_postgres: /run/postgresql/.s.PGSQL.5433
fleetmedic_shop_postgres_user: fleetmedic
fleetmedic_shop_may_restart: [shop-app, shop-queue]
fleetmedic_shop_stateful: shop-queue
fleetmedic_shop_may_end_sessions: true
fleetmedic_carts_may_flush: ["cache:*", "page:*"]
fleetmedic_carts_redis: 127.0.0.1:6380
fleetmedic_carts_redis_tls: true
fleetmedic_limits: {PG-IDLE-TXN: {warn_seconds: 30}}
"""


@pytest.mark.covers("exp:services")
def test_the_agent_takes_it_and_looks_at_what_the_inventory_says(tmp_path: Path) -> None:
    host = load([str(write(tmp_path, {"hosts": "db01\n", "host_vars/db01.yml": VARIABLES}) / "hosts")]).host("db01")
    file = tmp_path / "agent.toml"
    # The user is made by whoever installs the agent.
    file.write_text(render(host).replace('front_user = "fleetmedic"', 'front_user = "nobody"'))
    made = config.load(file, registry.load(), {})
    assert (made.name, made.front_user) == ("db01", "nobody")
    assert (made.tls, made.listen) == (FILES, "0.0.0.0:7443")
    assert [(item.service, item.value) for item in made.http] == [("shop", 'http://127.0.0.1:8000/ready?a="b"')]
    assert [item.value for item in made.pages] == ["http://127.0.0.1:8080/"]
    assert len(made.dependencies) == 2
    assert [item.service for item in made.tls_endpoints] == ["shop"]
    assert [item.value for item in made.dns] == ["db.example.net"]
    assert made.docker_expected == ("shop-app",)
    assert [(item.socket, item.port, item.user) for item in made.postgres] == [("/run/postgresql", 5433, "fleetmedic")]
    assert made.limits["PG-IDLE-TXN"]["warn_seconds"][0] == 30
    assert (made.redis[0].port, made.redis[0].tls) == (6380, True)
    assert made.probe_allow == ()
    actions = made.actions
    assert (actions.containers, actions.stateful) == (("shop-app", "shop-queue"), ("shop-queue",))
    assert actions.sessions == ("shop",)
    assert [(item.service, item.pattern) for item in actions.keys] == [("carts", "cache:*"), ("carts", "page:*")]


@pytest.mark.covers("exp:services")
@settings(database=None, max_examples=300)
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_value_breaks_out_of_its_place(path: str, name: str) -> None:
    """Give texts at the places that take the most."""
    values: dict[str, object] = {
        "fleetmedic_services": ["shop"],
        "fleetmedic_shop_http": f"http://127.0.0.1/{path}",
        "fleetmedic_shop_postgres": f"/{name}",
    }
    host = Host("db01", {key: Variable(value, Origin("hosts", 1)) for key, value in values.items()}, ())
    try:
        text = render(host)
    except InventoryError:
        return
    read = tomllib.loads(text)
    assert read.keys() == {"name", "front_user", "listen", "tls", "postgres", "http"}
    assert read["http"] == [{"service": "shop", "url": f"http://127.0.0.1/{path}"}]
    assert read["postgres"] == [{"service": "shop", "socket": f"/{name}"}]


@pytest.mark.covers("exp:services")
def test_the_same_inventory_gives_the_same_file(tmp_path: Path) -> None:
    source = str(write(tmp_path, {"hosts": "db01\n", "host_vars/db01.yml": VARIABLES}) / "hosts")
    assert render(load([source]).host("db01")) == render(load([source]).host("db01"))


@pytest.mark.covers("exp:services")
@pytest.mark.parametrize("name", ["2001:db8::1", ".hidden", "b\u00fccher"])
def test_a_name_that_no_agent_can_have_is_refused(name: str) -> None:
    with pytest.raises(InventoryError, match="can't be the name of an agent; use letters"):
        render(Host(name, {}, ()))


@pytest.mark.covers("exp:services")
@pytest.mark.parametrize(
    ("variables", "listen"),
    [
        ({"fleetmedic_port": 7500}, "0.0.0.0:7500"),
        ({"fleetmedic_listen": "10.0.0.11"}, "10.0.0.11:7443"),
        ({"fleetmedic_listen": "2001:db8::1", "fleetmedic_port": 7500}, "[2001:db8::1]:7500"),
    ],
)
def test_the_agent_listens_where_the_inventory_says(tmp_path: Path, variables: dict[str, object], listen: str) -> None:
    file = tmp_path / "agent.toml"
    text = render(Host("db01", {key: Variable(it, Origin("hosts", 1)) for key, it in variables.items()}, ()))
    file.write_text(text.replace('front_user = "fleetmedic"', 'front_user = "nobody"'))
    assert tomllib.loads(file.read_text())["listen"] == listen
    assert config.load(file, None, {}).listen == listen


@pytest.mark.covers("exp:services")
@pytest.mark.parametrize("value", ["db01.example.net", "10.0.0.11:7443", 7, "0.0.0.0/0"])
def test_what_is_no_address_to_listen_on_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(InventoryError, match=r"hosts:1: .*fleetmedic_listen"):
        render(Host("db01", {"fleetmedic_listen": Variable(value, Origin("hosts", 1))}, ()))


@pytest.mark.covers("exp:services")
def test_without_targets_it_is_the_head_and_the_limits_alone(tmp_path: Path) -> None:
    host = load([str(write(tmp_path, {"hosts": "db01\n", "host_vars/db01.yml": VARIABLES}) / "hosts")]).host("db01")
    assert tomllib.loads(render(host, targets=False)).keys() == {"name", "front_user", "listen", "tls", "limits"}
