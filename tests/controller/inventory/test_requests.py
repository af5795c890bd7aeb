"""Targets, limits and services from a host's variables."""

from collections.abc import Callable

import pytest

from controller.inventory.draft import Draft
from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.requests import limits, services, targets
from controller.inventory.sources.ini import read
from controller.inventory.variables import Variable
from fleetmedic.v1.agent_pb2 import Limit
from fleetmedic.v1.snapshot_pb2 import Target

WHERE = "hosts.yml:9"


def host(**variables: object) -> Host:
    return Host("web01", {name: Variable(value, Origin("hosts.yml", 9)) for name, value in variables.items()}, ())


def test_a_host_without_such_variables_asks_for_nothing() -> None:
    assert (targets(host()), limits(host()), services(host())) == ((), (), ())


def test_each_service_has_its_url_and_its_name_has_no_secrets() -> None:
    url = "https://user:pass@www.example.net:8443/health?token=abc#top"
    assert targets(host(fleetmedic_http={"frontend": url, "api": "http://[::1]/ready"})) == (
        Target(
            probe="http",
            service="frontend",
            name="https://www.example.net:8443/health",
            url=url,
            host="www.example.net",
            port=8443,
            origin=WHERE,
        ),
        Target(
            probe="http",
            service="api",
            name="http://[::1]/ready",
            url="http://[::1]/ready",
            host="::1",
            port=80,
            origin=WHERE,
        ),
    )


def test_one_url_alone_is_the_service_http() -> None:
    (target,) = targets(host(fleetmedic_http="https://www.example.net"))
    assert (target.service, target.port) == ("http", 443)


def test_tls_and_dns_targets_follow_in_their_order() -> None:
    found = targets(host(fleetmedic_dns=["db.example"], fleetmedic_tls=["a.example:443", "[2001:db8::1]:8443"]))
    assert found == (
        Target(probe="tls", service="tls", name="a.example:443", host="a.example", port=443, origin=WHERE),
        Target(probe="tls", service="tls", name="[2001:db8::1]:8443", host="2001:db8::1", port=8443, origin=WHERE),
        Target(probe="dns", service="dns", name="db.example", host="db.example", origin=WHERE),
    )
    (named,) = targets(host(fleetmedic_tls={"database": "db01:5432"}))
    assert named.service == "database"


def test_limits_and_services_carry_what_was_written() -> None:
    asked = host(
        fleetmedic_limits={"HOST-DISK-SPACE": {"warn_percent": 85, "crit_percent": 95.5}},
        fleetmedic_services=["a", "b"],
    )
    assert limits(asked) == (
        Limit(rule="HOST-DISK-SPACE", name="warn_percent", value=85, origin=WHERE),
        Limit(rule="HOST-DISK-SPACE", name="crit_percent", value=95.5, origin=WHERE),
    )
    assert services(asked) == ("a", "b")


@pytest.mark.covers("inv:S8")
def test_a_dict_literal_in_an_ini_file_does_the_same() -> None:
    draft = Draft()
    read(
        "[web]\nw1 fleetmedic_tls=\"['a.example:443']\"\n[web:vars]\nfleetmedic_http={'x': 'http://x/'}\n",
        "h.ini",
        draft,
    )
    found = targets(draft.finish(["h.ini"]).host("w1"))
    assert [(target.probe, target.name, target.origin) for target in found] == [
        ("http", "http://x/", "h.ini:4"),
        ("tls", "a.example:443", "h.ini:2"),
    ]


@pytest.mark.parametrize(
    ("ask", "field", "value"),
    [
        (targets, "fleetmedic_http", 5),
        (targets, "fleetmedic_http", {"x": 5}),
        (targets, "fleetmedic_http", {"x": "ftp://secret@x/"}),
        (targets, "fleetmedic_http", {"x": "http:///secret"}),
        (targets, "fleetmedic_http", {"x": "http://secret x/"}),
        (targets, "fleetmedic_http", {"x": "http://x:secret/"}),
        (targets, "fleetmedic_http", {"x": "http://x:99999/secret"}),
        (targets, "fleetmedic_http", {"x": "http://[secret/"}),
        (targets, "fleetmedic_http", {"x": "http://x/\x1bsecret"}),
        (targets, "fleetmedic_http", {"a b": "http://x/"}),
        (targets, "fleetmedic_http", {7: "http://x/"}),
        (targets, "fleetmedic_tls", ["x"]),
        (targets, "fleetmedic_tls", ["x:0"]),
        (targets, "fleetmedic_tls", ["x:70000"]),
        (targets, "fleetmedic_tls", ["[x]:443"]),
        (targets, "fleetmedic_tls", ["-x:443"]),
        (targets, "fleetmedic_tls", {"x": None}),
        (targets, "fleetmedic_dns", {"x": 5}),
        (targets, "fleetmedic_dependencies", ["mail"]),
        (targets, "fleetmedic_dependencies", {"mail": "ftp://mail.example"}),
        (targets, "fleetmedic_pages", ["shop.example:80"]),
        (targets, "fleetmedic_dns", ["a b"]),
        (targets, "fleetmedic_dns", ["::1"]),
        (targets, "fleetmedic_dns", [""]),
        (limits, "fleetmedic_limits", ["HOST-MEM"]),
        (limits, "fleetmedic_limits", {"host-mem": {"warn": 1}}),
        (limits, "fleetmedic_limits", {"HOST-MEM": 5}),
        (limits, "fleetmedic_limits", {"HOST-MEM": {"Warn": 5}}),
        (limits, "fleetmedic_limits", {"HOST-MEM": {"warn": "5"}}),
        (limits, "fleetmedic_limits", {"HOST-MEM": {"warn": True}}),
        (limits, "fleetmedic_limits", {"HOST-MEM": {"warn": float("nan")}}),
        (limits, "fleetmedic_limits", {"HOST-MEM": {"warn": 10**400}}),
        (services, "fleetmedic_services", 5),
        (services, "fleetmedic_services", [5]),
        (services, "fleetmedic_services", ["a b"]),
        (services, "fleetmedic_services", {"a": "b"}),
    ],
)
def test_a_value_of_another_shape_is_refused_with_file_line_and_field(
    ask: Callable[[Host], object], field: str, value: object
) -> None:
    with pytest.raises(InventoryError, match=rf"^hosts\.yml:9: {field}\b.+; .+$") as refusal:
        ask(host(**{field: value}))
    assert str(refusal.value).isprintable()
    assert "secret" not in str(refusal.value)
