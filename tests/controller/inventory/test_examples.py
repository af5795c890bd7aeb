"""The example inventories are valid and say what their comments promise."""

from pathlib import Path

import pytest

from controller.inventory.connection import endpoint, has_agent
from controller.inventory.graph import Inventory
from controller.inventory.loading import load
from controller.inventory.patterns.selecting import select
from controller.inventory.requests import limits, services, targets

EXAMPLES = Path(__file__).parents[3] / "inventory"


def example(*names: str) -> Inventory:
    return load([str(EXAMPLES / name) for name in names])


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_every_host_of_an_example_can_be_asked(name: str) -> None:
    inventory = example(name)
    assert not inventory.warnings
    for host in inventory.resolved(inventory.hosts):
        assert endpoint(host).name == host.name
        assert has_agent(host)
        assert len(targets(host)) + len(limits(host)) + len(services(host)) > 0 or host.groups == ("ungrouped",)


def test_production_has_its_tiers() -> None:
    inventory = example("production.ini")
    assert len(inventory.hosts) == 12
    assert list(select(inventory, "backend:!app")) == ["cache01.example.net"]
    cache = inventory.host("cache01.example.net")
    assert endpoint(cache).port == 7444
    assert cache.groups == ("backend", "cache", "production")
    assert [target.name for target in targets(inventory.host("app03.example.net"))] == [
        "http://127.0.0.1:8000/health/ready",
        "db.example.net",
        "cache.example.net",
    ]
    bastion = endpoint(inventory.host("bastion.example.net"))
    assert (bastion.address, bastion.port) == ("192.0.2.10", 7443)


def test_staging_has_a_host_with_two_roles() -> None:
    inventory = example("staging.yml")
    assert inventory.host("stg-app2").groups == ("app", "backend", "cache")
    assert services(inventory.host("stg-app2")) == ("backend", "worker")
    assert endpoint(inventory.host("stg-db1")).port == 7444


def test_both_together_are_one_inventory() -> None:
    inventory = example("production.ini", "staging.yml")
    assert list(select(inventory, "web")) == ["web01.example.net", "web02.example.net", "stg-web1"]
    assert len(inventory.hosts) == 16
