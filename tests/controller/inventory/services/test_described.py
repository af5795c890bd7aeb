"""The variables of services: what they describe, and what is refused with file, line, field and mend."""

import re
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
        ("fleetmedic_shop_links: {Docs: 'https://me:hunter2@x.example/'}", "2: fleetmedic_shop_links: a link holds a "),
        (
            "fleetmedic_shop_redis: /run/x\nfleetmedic_shop_redis_tls: true",
            "2: fleetmedic_shop_redis: a socket speaks ",
        ),
        (
            "fleetmedic_shop_current:",
            "2: fleetmedic_shop_current: a version must be a text, and this is read as nothing",
        ),
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
    [
        ("0017", "the number 15"),
        ("1.10", "the number 1.1"),
        ("1:30", "the number 90"),
        ("1e3", None),
        ("2026-11-24", "the date 2026-11-24"),
        ("on", "true"),
    ],
)
def test_a_version_without_quotes_is_refused_with_what_was_written_and_what_it_became(
    tmp_path: Path, written: str, parsed: str | None
) -> None:
    if parsed is None:
        assert described(host(tmp_path, f"fleetmedic_services: [shop]\nfleetmedic_shop_previous: {written}\n"))
        return
    assert refusal(tmp_path, f"fleetmedic_shop_previous: {written}  # of May\n") == (
        f"2: fleetmedic_shop_previous: a version must be a text, and {written} without quotes is read as {parsed}; "
        f'write fleetmedic_shop_previous: "{written}"'
    )


@pytest.mark.covers("inv:I122")
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("hosts.ini", "w1 fleetmedic_services='[\"shop\"]' fleetmedic_shop_current=17 x=2\n"),
        ("hosts.ini", "[all]\nw1\n[all:vars]\nfleetmedic_services=['shop']\nfleetmedic_shop_current=17\n"),
        ("hosts.yml", "all:\n  hosts: {w1: {fleetmedic_services: [shop], fleetmedic_shop_current: 17, x: 2}}\n"),
        (
            "hosts.json",
            '{"all": {"hosts": {"w1": {"fleetmedic_services": ["shop"],\n"fleetmedic_shop_current": 17, "x": 2}}}}',
        ),
        ("hosts.toml", '[all.hosts.w1]\nfleetmedic_services = ["shop"]\nfleetmedic_shop_current = 17\n'),
    ],
)
def test_the_mend_of_a_version_is_right_where_it_is_written(tmp_path: Path, file: str, content: str) -> None:
    """Write what the message says in place of what is there, and read again."""
    source = write(tmp_path, {file: content}) / file
    with pytest.raises(InventoryError, match="and 17 without quotes is read as the number 17; write ") as error:
        described(load([str(source)]).host("w1"))
    mend = str(error.value).partition("; write ")[2]
    source.write_text(re.sub(r'"?fleetmedic_shop_current"?[:= ]+17', lambda _: mend, content))
    assert described(load([str(source)]).host("w1"))


@pytest.mark.covers("inv:I122")
def test_a_version_by_way_of_a_template_is_a_text_too(tmp_path: Path) -> None:
    assert refusal(tmp_path, "release: 0017\nfleetmedic_shop_current: '{{ release }}'\n") == (
        "3: fleetmedic_shop_current: a version must be a text, and this is read as the number 15; "
        "put it in quotes where '{{ release }}' has it from"
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


@pytest.mark.covers("exp:services")
@pytest.mark.parametrize(
    ("services", "field"), [("[a-b, a_b]", "fleetmedic_a_b_http"), ("[shop, shop-redis]", "fleetmedic_shop_redis_tls")]
)
def test_a_variable_of_two_services_is_refused(tmp_path: Path, services: str, field: str) -> None:
    made = host(tmp_path, f"fleetmedic_services: {services}\n{field}: x\n")
    with pytest.raises(InventoryError, match=f":2: {field}: is of both services "):
        described(made)


@pytest.mark.covers("exp:services")
def test_what_is_named_twice_is_looked_at_once(tmp_path: Path) -> None:
    made = host(tmp_path, "fleetmedic_services: [shop, shop]\nfleetmedic_shop_tls: [a:1, a:1]\n")
    assert [len(service.targets) for service in described(made)] == [1]


def test_a_host_without_services_has_no_links(tmp_path: Path) -> None:
    assert links(host(tmp_path, "x: 1\n")) == {}
