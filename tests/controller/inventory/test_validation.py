"""Everything that is wrong in an inventory is told at once, folded over its hosts."""

from pathlib import Path

import pytest

from controller.inventory.loading import load
from controller.inventory.services.schema import OF_ROLLBACK
from controller.inventory.validation import Validated, validate
from tests.controller.inventory.layout import write


def validated(folder: Path, files: dict[str, str]) -> Validated:
    inventory = load([str(write(folder, files) / "hosts")])
    return validate(inventory, inventory.hosts)


@pytest.mark.covers("exp:validate")
def test_all_errors_are_told_and_those_of_a_group_once(tmp_path: Path) -> None:
    found = validated(
        tmp_path,
        {
            "hosts": "[web]\nweb[01:40]\n[db]\ndb01 ansible_host=\n",
            "group_vars/web.yml": "fleetmedic_port: '7443'\nfleetmedic_services: [shop]\nfleetmedic_shop_tls: x\n",
            "host_vars/db01.yml": "fleetmedic_limits: {PG: 1}\n",
        },
    )
    assert [(error.text.removeprefix(f"{tmp_path}/").split("; ")[0], len(error.hosts)) for error in found.errors] == [
        ("group_vars/web.yml:1: fleetmedic_port is '7443', not a port", 40),
        ("group_vars/web.yml:3: fleetmedic_shop_tls: 'x' is not host:port", 40),
        ("hosts:4: ansible_host '' is no address: it is empty", 1),
        ("host_vars/db01.yml:1: fleetmedic_limits: 'PG' is not a rule id", 1),
    ]


@pytest.mark.covers("exp:validate")
def test_what_is_odd_is_warned_of(tmp_path: Path) -> None:
    found = validated(
        tmp_path,
        {
            "hosts": "[web]\nweb01 ansible_host=192.0.2.1\nweb02 ansible_host=192.0.2.1\n",
            "group_vars/wbe.yml": "x: 1\n",
            "host_vars/web03/main.yml": "x: 1\n",
            "group_vars/web.yml": "fleetmedic_services: [shop]\nfleetmedic_shop_htp: http://x/\nfleetmedic_prot: 1\n",
            "group_vars/all/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n62\n",
        },
    )
    assert found.errors == ()
    assert [warning.text.replace(f"{tmp_path}/", "") for warning in found.warnings] == [
        "group_vars/web.yml:2: 'fleetmedic_shop_htp' is no variable of fleetmedic's; "
        "did you mean fleetmedic_shop_http?",
        "group_vars/web.yml:3: 'fleetmedic_prot' is no variable of fleetmedic's; did you mean fleetmedic_port?",
        "dialled at one place, 192.0.2.1 port 7443: is one of them a copy?",
        "group_vars/all/vault.yml: encrypted as a whole: what it sets is not known here",
        "group_vars/wbe.yml: no group has this name; did you mean web?",
        "host_vars/web03: no host has this name; did you mean web02?",
    ]


@pytest.mark.covers("exp:validate")
def test_a_file_that_can_not_be_read_is_an_error_of_its_hosts_alone(tmp_path: Path) -> None:
    found = validated(tmp_path, {"hosts": "w1\nw2\n", "host_vars/w1.yml": "a: [\n"})
    assert [error.hosts for error in found.errors] == [("w1",)]
    assert found.hosts == 2


@pytest.mark.covers("exp:validate")
def test_files_of_a_group_without_hosts_are_read_too(tmp_path: Path) -> None:
    found = validated(tmp_path, {"hosts": "w1\n[later]\n", "group_vars/later.yml": "a: [\n"})
    assert [error.hosts for error in found.errors] == [()]
    assert found.errors[0].text.startswith(f"{tmp_path}/group_vars/later.yml:")


@pytest.mark.covers("exp:validate")
def test_a_file_that_another_keeps_from_being_read_is_warned_of(tmp_path: Path) -> None:
    found = validated(
        tmp_path, {"hosts": "[web]\nw1\n", "group_vars/web/main.yml": "x: 1\n", "group_vars/web.yml": "x: 2\n"}
    )
    assert [warning.text for warning in found.warnings] == [
        f"{tmp_path}/group_vars/web.yml: is not read, for web is there; make them one"
    ]


@pytest.mark.covers("exp:validate")
def test_one_level_may_describe_services_that_only_some_of_its_hosts_have(tmp_path: Path) -> None:
    found = validated(
        tmp_path,
        {
            "hosts": "[web]\nw1\n[db]\ndb01\n",
            "group_vars/all.yml": "fleetmedic_shop_http: http://127.0.0.1/\nfleetmedic_pay_http: http://127.0.0.1/\n",
            "group_vars/web.yml": "fleetmedic_services: [shop]\n",
        },
    )
    assert [(warning.text.partition(": ")[2], warning.hosts) for warning in found.warnings] == [
        ("'fleetmedic_pay_http' is no variable of fleetmedic's; is its service in fleetmedic_services?", ("w1", "db01"))
    ]


@pytest.mark.covers("exp:validate")
def test_a_login_without_its_server_is_warned_of(tmp_path: Path) -> None:
    found = validated(
        tmp_path, {"hosts": "w1\n", "host_vars/w1.yml": "fleetmedic_services: [shop]\nfleetmedic_shop_redis_user: a\n"}
    )
    assert [warning.text.removeprefix(f"{tmp_path}/") for warning in found.warnings] == [
        "host_vars/w1.yml:2: fleetmedic_shop_redis_user is for the server of fleetmedic_shop_redis, which is not set; "
        "set it"
    ]


@pytest.mark.covers("exp:validate")
def test_what_a_later_version_reads_is_known(tmp_path: Path) -> None:
    names = sorted(f"fleetmedic_shop_{suffix}" for suffix in OF_ROLLBACK)
    variables = "".join(f"{name}: x\n" for name in (*names, "fleetmedic_canary", "fleetmedic_maintenance"))
    found = validated(tmp_path, {"hosts": "w1\n", "host_vars/w1.yml": f"fleetmedic_services: [shop]\n{variables}"})
    assert (found.errors, found.warnings) == ((), ())
    assert len(names) == 11
