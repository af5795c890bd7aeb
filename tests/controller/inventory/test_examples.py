"""The example inventories are valid and say what their comments promise."""

from pathlib import Path

import pytest

from controller.inventory.connection import endpoint, has_agent
from controller.inventory.graph import Inventory
from controller.inventory.loading import load
from controller.inventory.patterns.selecting import select
from controller.inventory.requests import services
from controller.inventory.services.described import described
from controller.inventory.validation import validate

EXAMPLES = Path(__file__).parents[3] / "inventory"


def example(name: str) -> Inventory:
    return load([str(EXAMPLES / name)])


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_nothing_is_wrong_or_odd_in_an_example(name: str) -> None:
    inventory = example(name)
    found = validate(inventory, inventory.hosts)
    assert (found.errors, found.warnings) == ((), ())
    for host in inventory.resolved(inventory.hosts):
        assert endpoint(host).name == host.name
        assert has_agent(host)
        assert services(host) or host.groups == ("ungrouped",)


def test_production_has_its_tiers() -> None:
    inventory = example("production")
    assert len(inventory.hosts) == 12
    assert select(inventory, "backend:!app") == ("cache01.example.net",)
    cache = inventory.host("cache01.example.net")
    assert endpoint(cache).port == 7444
    assert cache.groups == ("backend", "cache", "production")
    bastion = endpoint(inventory.host("bastion.example.net"))
    assert (bastion.address, bastion.port) == ("192.0.2.10", 7443)


def test_production_describes_its_services() -> None:
    inventory = example("production")
    backend, worker = described(inventory.host("app03.example.net"))
    assert [target.name for target in backend.targets] == [
        "http://127.0.0.1:8000/health/ready",
        "mail.example.net:25",
        "https://payments.example.net/health",
    ]
    assert backend.links[0] == ("Dashboard", "https://grafana.example.net/d/backend")
    assert worker.containers == ("backend-mail-worker",)
    (database,) = described(inventory.host("db01.example.net"))
    assert database.links == (("Dashboard", "https://grafana.example.net/d/postgresql?var-host=db01.example.net"),)
    assert database.servers[0].socket == "/run/postgresql"


def test_staging_has_a_host_with_two_roles() -> None:
    inventory = example("staging")
    assert inventory.host("stg-app2").groups == ("app", "backend", "cache")
    assert services(inventory.host("stg-app2")) == ("backend", "worker")
    assert endpoint(inventory.host("stg-db1")).port == 7444
