"""Secrets of an inventory: in no listing, and in no message about what is wrong."""

import json
from pathlib import Path

import pytest

from tests.lab.agents import Desk

SECRET = "hunter2"


def inventory(folder: Path, variables: object) -> Path:
    file = folder / "hosts.json"
    file.write_text(json.dumps({"all": {"hosts": {"w1": variables}}}))
    return file


@pytest.mark.covers("inv:I124")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ansible_password", SECRET),
        ("db_passwords", {"orders": SECRET, "deep": [{"x": SECRET}]}),
        ("vault_credentials", {"user": SECRET}),
        ("services", {"orders": {"api_key": SECRET}}),
        ("ssh_private_key", SECRET),
        ("aws_access_key", SECRET),
        ("api-key", SECRET),
        ("encryption_key", SECRET),
        ("pin_token", 2),
        ("auth_header", f"Bearer {SECRET}"),
        ("sessioncookie", SECRET),
        ("curl", f"curl -H 'Authorization: Bearer {SECRET}' http://h/"),
        ("hook", f"https://h/hook?x=1&access_token={SECRET}"),
        ("dsn", f"postgres://shop:a/{SECRET}@db/orders"),
        ("redis", f"redis://:{SECRET}@cache:6379/0"),
        ("libpq", f"host=db user=shop password={SECRET}"),
        ("started_with", f"app --password {SECRET} --verbose"),
    ],
)
def test_a_secret_is_masked_wherever_variables_are_shown(tmp_path: Path, name: str, value: object) -> None:
    desk, file = Desk(tmp_path), inventory(tmp_path, {name: value, "shown": "as it is"})
    for words in (("list",), ("list", "--export"), ("host", "w1"), ("host", "w1", "--origin"),
                  ("host", "w1", "--format", "json")):  # fmt: skip
        done = desk.run("inventory", *words, "-i", file)
        assert (done.code, SECRET in done.out) == (0, False), done.out
        assert "***" in done.out
        assert "as it is" in done.out


@pytest.mark.covers("inv:I124")
def test_what_is_no_secret_is_shown_as_it_is(tmp_path: Path) -> None:
    variables = {
        "ansible_ssh_private_key_file": "/root/.ssh/id",
        "password_required": True,
        "registry": "https://registry.example:5000/@team/app",
        # pragma: allowlist nextline secret - a commit
        "fleetmedic_orders_previous": "0123456789abcdef0123456789abcdef01234567",
        "ssh_public": "ssh-ed25519 AAAA",
        "host": "db01.example.net:5432",
        "url": "https://example.net/a?b=c",
    }
    done = Desk(tmp_path).run("inventory", "list", "-i", inventory(tmp_path, variables))
    assert done.json()["_meta"]["hostvars"]["w1"] == variables


WRONG = [
    {"fleetmedic_services": ["s"], "fleetmedic_s_postgres": f"postgres://u:{SECRET}@db/x"},
    {"fleetmedic_services": ["s"], "fleetmedic_s_redis": f"redis://:{SECRET}@db/x"},
    {"fleetmedic_services": ["s"], "fleetmedic_s_tls": f"u:{SECRET}@db:443"},
    {"fleetmedic_services": ["s"], "fleetmedic_s_dns": f"u:{SECRET}@db"},
    {"fleetmedic_services": ["s"], "fleetmedic_s_dependency": f"amqp://u:{SECRET}@db"},
    {"fleetmedic_services": ["s"], "fleetmedic_s_http": f"ftp://u:{SECRET}@db"},
    {"fleetmedic_services": ["s"], "fleetmedic_s_postgres": "db:5432", "fleetmedic_s_postgres_user": f"u:{SECRET}"},
    {"fleetmedic_services": ["s"], "fleetmedic_s_postgres": "db:5432", "fleetmedic_s_postgres_password_file": SECRET},
    {"fleetmedic_services": ["s"], "fleetmedic_s_redis": "db:6379", "fleetmedic_s_redis_password_file": SECRET},
    {"fleetmedic_services": ["s"], "fleetmedic_s_links": f"https://u:{SECRET}@grafana/"},
    {"fleetmedic_services": ["s"], "fleetmedic_s_links": [f"grafana://u:{SECRET}@grafana/"]},
    {"fleetmedic_services": ["s"], "fleetmedic_s_containers": f"docker://u:{SECRET}@x"},
    {"fleetmedic_services": ["s"], "fleetmedic_s_previous": f"https://u:{SECRET}@x y"},
    {"fleetmedic_tls": [f"u:{SECRET}@db:443"]},
    {"ansible_host": f"root:{SECRET}@127.0.0.1"},
    {"fleetmedic_port": "{{ ansible_password }}", "ansible_password": SECRET},
    {"ansible_host": "x y {{ ansible_password }}", "ansible_password": SECRET},
    {"ansible_host": "{{ 'http://u:hunter2@h' | urlsplit }}"},
]


@pytest.mark.covers("inv:I124")
@pytest.mark.parametrize("variables", WRONG, ids=str)
def test_a_message_about_a_wrong_value_does_not_hold_what_may_be_a_secret(tmp_path: Path, variables: object) -> None:
    desk, file = Desk(tmp_path), inventory(tmp_path, variables)
    done = desk.run("inventory", "validate", "-i", file)
    assert done.code == 65
    for words in (
        ("inventory", "validate"),
        ("inventory", "host", "w1", "--agent-toml"),
        ("check",),
        ("inventory", "ping"),
    ):
        done = desk.run(*words, "-i", file)
        assert SECRET not in done.out + done.err


@pytest.mark.covers("inv:I124")
@pytest.mark.parametrize(
    "text",
    [
        f"[web]\nansible_password={SECRET}\n",
        f"[web:children]\nansible_password={SECRET}\n",
        f"[web]\nw1\n[web:children]\nhttps://u:{SECRET}@h/\n",
    ],
)
def test_a_variable_in_a_wrong_section_is_not_quoted_with_its_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "hosts.ini").write_text(text)
    done = Desk(tmp_path).run("inventory", "hosts", "-i", "hosts.ini")
    assert (done.code, SECRET in done.err) == (65, False), done.err
    assert "hosts.ini:" in done.err
