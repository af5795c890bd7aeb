"""Executable sources: run without a shell, bounded in time and output, and believed only where they print JSON."""

import json
import re
import time
from pathlib import Path

import pytest

from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory
from controller.inventory.loading import load
from controller.inventory.origins import InventoryError
from controller.inventory.sources import script
from controller.inventory.variables import ENCRYPTED, Unsafe
from tests.lab.waiting import until


def program(folder: Path, body: str, name: str = "fleet.sh") -> str:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return str(file)


def printing(folder: Path, answer: object) -> Inventory:
    return load([program(folder, f"cat <<'END'\n{json.dumps(answer)}\nEND")])


def refusal(source: str) -> str:
    with pytest.raises(InventoryError) as error:
        load([source])
    return str(error.value)


@pytest.mark.covers("inv:I123", "inv:S20")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo one >&2; echo boom >&2; exit 3", "it ended with exit code 3, saying 'boom'; mend the script"),
        ("kill -9 $$", "it was ended by signal 9; mend the script"),
        ("echo nothing", "its answer to --list is not JSON; print one JSON object, and nothing else"),
        ("true", "its answer to --list is not JSON; "),
        ("""echo '["a"]'""", "its answer to --list is no JSON object; "),
        ("""echo '{"a": {"hosts": ["x"]}, "a": {"hosts": ["y"]}}'""", "key 'a' stands twice in its answer; "),
        ("head -c 10000000 /dev/zero | tr '\\0' ' '; echo '{}'", "it prints more than 8 MiB; "),
        (f"printf '{'[' * 5000}'", "its answer to --list is not JSON; "),
    ],
)
def test_a_script_that_fails_or_prints_something_else_is_refused(tmp_path: Path, body: str, said: str) -> None:
    source = program(tmp_path, body)
    assert refusal(source).startswith(f"{source}: the script: {said}")


@pytest.mark.covers("inv:I123")
def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    source = program(tmp_path, r"printf '{\"a\": {\"hosts\": [\"\377\"]}}'")
    assert refusal(source) == f"{source}:1: not UTF-8; convert the file to UTF-8"


@pytest.mark.covers("inv:I123", "inv:S20")
def test_a_script_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    source = program(tmp_path, f"sleep 1000 & echo $! > {pid}; wait")
    began = time.monotonic()
    with pytest.raises(InventoryError, match=r"the script: it took longer than 0\.5s; make it faster"):
        script.read(Path(source), Draft(), 0.5)
    assert time.monotonic() - began < 3
    until("what it started is ended", lambda: not runs(pid))


@pytest.mark.covers("inv:I123")
def test_what_a_script_left_behind_is_ended_though_it_ended_by_itself(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    source = program(tmp_path, f'sleep 1000 >/dev/null 2>&1 & echo $! > {pid}; echo \'{{"web": ["w1"]}}\'')
    assert list(load([source]).hosts) == ["w1"]
    until("what it started is ended", lambda: not runs(pid))


def runs(pid: Path) -> bool:
    status = Path(f"/proc/{pid.read_text().strip()}/stat")
    try:
        return status.read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.covers("inv:I123")
def test_a_script_that_closes_its_output_and_stays_is_ended_too(tmp_path: Path) -> None:
    source = program(tmp_path, "echo '{}'; exec >&- 2>&-; sleep 1000")
    with pytest.raises(InventoryError, match="took longer"):
        script.read(Path(source), Draft(), 0.5)


@pytest.mark.covers("inv:I123")
def test_no_shell_reads_the_name_of_a_script_and_none_is_looked_for_in_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program(tmp_path, 'echo \'{"web": ["right"]}\'', "a; touch b")
    program(tmp_path, 'echo \'{"web": ["right"]}\'', "true")
    assert list(load(["a; touch b"]).hosts) == ["right"]
    assert list(load(["true"]).hosts) == ["right"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a; touch b", "true"]


@pytest.mark.covers("inv:S20")
def test_hosts_are_asked_for_one_by_one_where_meta_is_missing(tmp_path: Path) -> None:
    body = (
        f'echo "$*" >> {tmp_path}/asked\n'
        'case "$1" in --list) echo \'{"web": {"hosts": ["w1", "w2"]}}\';;\n'
        '--host) [ "$2" = w2 ] || echo \'{"x": 1}\';; esac'
    )
    inventory = load([program(tmp_path, body)])
    assert (tmp_path / "asked").read_text().splitlines() == ["--list", "--host w1", "--host w2"]
    assert {name: dict(host.variables) != {} for name, host in inventory.hosts.items()} == {"w1": True, "w2": False}


@pytest.mark.covers("inv:S20", "inv:S22")
def test_wrapped_values_are_unwrapped(tmp_path: Path) -> None:
    hostvars = {"w1": {"a": {"__ansible_vault": "$ANSIBLE_VAULT;1.1"}, "b": [{"__ansible_unsafe": "{{ x }}"}]}}
    host = printing(tmp_path, {"web": ["w1"], "_meta": {"hostvars": hostvars}}).host("w1")
    assert host.variables["a"].value is ENCRYPTED
    assert host.variables["b"].value == [Unsafe("{{ x }}")]


@pytest.mark.covers("inv:S20", "inv:S15")
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"web": {"hosts": "w1"}}, "hosts of group 'web' are no list of names"),
        ({"web": {"hosts": [5]}}, "hosts of group 'web' are no list of names"),
        ({"web": {"children": {"a": 1}}}, "children of group 'web' are no list of names"),
        ({"web": {"vars": []}}, "vars of group 'web' is no JSON object"),
        ({"web": 5}, "group 'web' is no JSON object"),
        ({"web": ["../x"]}, "'../x' is not a host name"),
        ({"web": ["a\nb"]}, "'a\\nb' is not a host name"),
        ({"a;b": ["w1"]}, "'a;b' is not a group name"),
        ({"web": ["w1"], "_meta": {"hostvars": {"w1": []}}}, "the variables of host 'w1' is no JSON object"),
        ({"web": ["w1"], "_meta": {"hostvars": []}}, "_meta.hostvars is no JSON object"),
    ],
)
def test_an_answer_of_another_shape_is_refused_by_group_or_host(tmp_path: Path, answer: object, said: str) -> None:
    with pytest.raises(InventoryError, match=re.escape(said)):
        printing(tmp_path, answer)


def test_an_unknown_key_of_a_group_is_told(tmp_path: Path) -> None:
    inventory = printing(tmp_path, {"web": {"hosts": ["w1"], "comment": "x"}, "_meta": {"hostvars": {}}})
    assert inventory.warnings == (f"{tmp_path}/fleet.sh: group 'web': the key 'comment' is not known, and ignored",)


def test_a_script_whose_interpreter_is_missing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fleet"
    file.write_text("#!/no/such/interpreter\n")
    file.chmod(0o755)
    assert refusal(str(file)).endswith("can't be run: No such file or directory; mend it, or take its x bit away")
