"""The variables of services: what they describe, and what is refused with file, line, field and mend."""

from pathlib import Path

import pytest

from controller import asking
from controller.asking import Question
from controller.calling import Bounds
from controller.inventory.graph import Host
from controller.inventory.loading import load
from controller.inventory.origins import InventoryError
from controller.inventory.services.described import described, links
from fleetmedic.v1.agent_pb2 import CheckRequest
from tests.controller.inventory.layout import write


def host(folder: Path, variables: str) -> Host:
    """Give a host whose host_vars are that YAML."""
    return load([str(write(folder, {"hosts": "w1\n", "host_vars/w1.yml": variables}) / "hosts")]).host("w1")


def refusal(folder: Path, variables: str) -> str:
    made = host(folder, f"fleetmedic_services: [shop]\n{variables}")
    with pytest.raises(InventoryError) as error:
        described(made)
    return str(error.value).removeprefix(f"{folder}/host_vars/w1.yml:")


WHOLE = """
fleetmedic_services: [shop, mail-worker.eu]
fleetmedic_shop_http: [http://127.0.0.1:8000/ready, http://user:secret@127.0.0.1:8001/?token=x]
fleetmedic_shop_page: http://127.0.0.1:8080/
fleetmedic_shop_dependency: [mail.example.net:25, https://pay.example.net/]
fleetmedic_shop_tls: "{{ inventory_hostname }}.example.net:443"
fleetmedic_shop_dns: db.example.net
fleetmedic_shop_containers: [shop-app]
fleetmedic_shop_postgres: 127.0.0.1:5433
fleetmedic_shop_postgres_user: fleetmedic
fleetmedic_shop_postgres_dbname: shop
fleetmedic_shop_postgres_password_file: /etc/fleetmedic/postgres-password
fleetmedic_shop_redis: /run/redis/redis.sock
fleetmedic_shop_links: {Dashboard: https://grafana.example.net/d/shop, Runbook: https://wiki.example.net/shop}
fleetmedic_shop_previous: "0017"
fleetmedic_mail_worker_eu_links: [https://wiki.example.net/mail]
"""


@pytest.mark.covers("exp:services")
def test_every_variable_of_a_service_is_read(tmp_path: Path) -> None:
    shop, mail = described(host(tmp_path, WHOLE))
    assert [(target.probe, target.service, target.name) for target in shop.targets] == [
        ("http", "shop", "http://127.0.0.1:8000/ready"),
        ("http", "shop", "http://127.0.0.1:8001/"),
        ("page", "shop", "http://127.0.0.1:8080/"),
        ("dependency", "shop", "mail.example.net:25"),
        ("dependency", "shop", "https://pay.example.net/"),
        ("tls", "shop", "w1.example.net:443"),
        ("dns", "shop", "db.example.net"),
    ]
    postgres, redis = shop.servers
    assert (postgres.host, postgres.port, postgres.user, postgres.dbname) == ("127.0.0.1", 5433, "fleetmedic", "shop")
    assert (postgres.password_file, redis.socket) == ("/etc/fleetmedic/postgres-password", "/run/redis/redis.sock")
    assert (shop.containers, len(shop.links)) == (("shop-app",), 2)
    assert (mail.name, mail.links) == ("mail-worker.eu", (("", "https://wiki.example.net/mail"),))
    assert links(host(tmp_path, WHOLE)) == {"shop": shop.links, "mail-worker.eu": mail.links}


@pytest.mark.covers("exp:services")
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ("fleetmedic_shop_http: ftp://x/", "2: fleetmedic_shop_http: the URL of shop is not one; "),
        ("fleetmedic_shop_http: 5", "2: fleetmedic_shop_http: not a text and not a list of texts; "),
        ("fleetmedic_shop_tls: shop", "2: fleetmedic_shop_tls: 'shop' is not host:port; "),
        ("fleetmedic_shop_dns: [a, 'b;c']", "2: fleetmedic_shop_dns: 'b;c' is not a DNS name; "),
        ("fleetmedic_shop_containers: '-x'", "2: fleetmedic_shop_containers: '-x' is not a container's name; "),
        ("fleetmedic_shop_postgres: shop", "2: fleetmedic_shop_postgres: 'shop' is not host:port; "),
        ("fleetmedic_shop_postgres: /run\nfleetmedic_shop_postgres_user: 'a b'", "3: fleetmedic_shop_postgres_user: "),
        ("fleetmedic_shop_redis: /run/x\nfleetmedic_shop_redis_tls: 'yes'", "3: fleetmedic_shop_redis_tls: "),
        (
            "fleetmedic_shop_postgres_password: hunter2",
            "2: fleetmedic_shop_postgres_password: a password does not belong in an inventory; "
            "write fleetmedic_shop_postgres_password_file: a path on the host",
        ),
        ("fleetmedic_shop_links: {Docs: 'javascript:alert(1)'}", "2: fleetmedic_shop_links: 'Docs' is no link; "),
        ('fleetmedic_shop_links: {"a\\nb": "https://x.example"}', "2: fleetmedic_shop_links: "),
        ("fleetmedic_shop_links: !vault x", "2: fleetmedic_shop_links: an encrypted value is needed here; "),
    ],
)
def test_a_wrong_value_is_refused_with_line_field_and_mend(tmp_path: Path, variables: str, said: str) -> None:
    message = refusal(tmp_path, variables)
    assert message.startswith(said)
    assert "hunter2" not in message


@pytest.mark.covers("inv:I122")
@pytest.mark.parametrize(
    ("written", "parsed"),
    [("0017", "'15', a number"), ("1.10", "'1.1', a number"), ("1e3", None), ("2026-11-24", "'2026-11-24', a date")],
)
def test_a_version_without_quotes_is_refused_with_what_was_written_and_what_it_became(
    tmp_path: Path, written: str, parsed: str | None
) -> None:
    if parsed is None:
        assert described(host(tmp_path, f"fleetmedic_services: [shop]\nfleetmedic_shop_previous: {written}\n"))
        return
    assert refusal(tmp_path, f"fleetmedic_shop_previous: {written}\n") == (
        f"2: fleetmedic_shop_previous: a version must be a text, and this is read as {parsed}; "
        f'put it in quotes: fleetmedic_shop_previous: "{written}"'
    )


@pytest.mark.covers("inv:I122")
@pytest.mark.parametrize("version", ["--output-dir=x", "a;b", "$(x)", "-1", "a b", ""])
def test_a_version_that_could_be_more_than_one_is_refused(tmp_path: Path, version: str) -> None:
    assert "is no version; " in refusal(tmp_path, f"fleetmedic_shop_current: '{version}'\n")


@pytest.mark.covers("exp:services")
def test_what_describes_a_service_is_never_sent_in_a_request(tmp_path: Path) -> None:
    made = host(tmp_path, WHOLE)
    (sent,) = asking.requests_for([made], Question(), Bounds(1, 1.0, 10.0)).values()
    request = CheckRequest.FromString(sent)
    assert not list(request.targets)
    assert b"shop" not in sent


def test_a_host_without_services_has_no_links(tmp_path: Path) -> None:
    assert links(host(tmp_path, "x: 1\n")) == {}
