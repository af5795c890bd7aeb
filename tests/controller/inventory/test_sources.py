"""Which sources are read, which are refused, and that several are read as one or not at all."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controller.inventory.loading import load
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources.text import MAX_BYTES

ROOT = Path(__file__).parents[3]


def refusal(*sources: str | Path) -> str:
    with pytest.raises(InventoryError) as error:
        load([str(source) for source in sources])
    return str(error.value)


@pytest.mark.covers("inv:S4")
def test_a_later_source_adds_members_and_overrides_variables(tmp_path: Path) -> None:
    first, second = tmp_path / "a.ini", tmp_path / "b.yml"
    first.write_text("[web]\nw1 size=1 place=a\n[web:vars]\nenv=one\n")
    second.write_text("web: {hosts: {w2: , w1: {size: 2}}, vars: {env: two}}\n")
    inventory = load([str(first), str(second)])
    assert list(inventory.hosts) == ["w1", "w2"]
    assert {name: variable.value for name, variable in inventory.host("w1").variables.items()} == {
        "env": "two",
        "size": 2,
        "place": "a",
    }
    assert inventory.host("w1").variables["size"].origin == Origin(str(second), 1)
    assert inventory.sources == (str(first), str(second))


@pytest.mark.covers("inv:I121")
def test_a_bad_second_source_leaves_no_host_of_the_first(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.ini", tmp_path / "bad.ini"
    good.write_text("w1\n")
    bad.write_text("[web]\nw2 oops\n")
    assert refusal(good, bad).startswith(f"{bad}:2: ")


@pytest.mark.covers("inv:S1")
def test_a_text_with_a_comma_is_a_host_list_unless_a_file_has_that_name(tmp_path: Path) -> None:
    assert list(load(["web01,db01:2222,"]).hosts) == ["web01", "db01"]
    assert load(["db01:2222,"]).host("db01").variables["ansible_port"].value == 2222
    named = tmp_path / "a,b"
    named.write_text("inside\n")
    assert list(load([str(named)]).hosts) == ["inside"]


@pytest.mark.covers("inv:S1")
def test_a_host_that_another_source_has_in_no_group_stands_behind_those_of_a_host_list(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("all: {hosts: {b: }}\n")
    assert load([str(tmp_path / "a.yml"), "a,b,c"]).groups["ungrouped"].hosts == ("a", "c", "b")


@pytest.mark.covers("inv:S1")
def test_a_host_list_may_be_longer_than_any_path() -> None:
    assert len(load([",".join(f"h{n}" for n in range(5000))]).hosts) == 5000


@pytest.mark.covers("inv:S1", "inv:P205")
@pytest.mark.parametrize("source", [",", " , ,"])
def test_a_host_list_without_a_host_is_refused(source: str) -> None:
    assert "names no host" in refusal(source)


def test_no_source_at_all_is_refused() -> None:
    assert "name a file with -i" in refusal()


@pytest.mark.covers("inv:S1")
def test_a_missing_file_is_refused_with_the_nearest_name_beside_it(tmp_path: Path) -> None:
    (tmp_path / "production.ini").write_text("h1\n")
    missing = tmp_path / "prodution.ini"
    assert refusal(missing) == f"{missing}: no such inventory file; did you mean {tmp_path / 'production.ini'}?"


def test_a_lone_host_name_gets_the_hint_with_the_comma() -> None:
    assert refusal("no-such-host-here").endswith("or write no-such-host-here, (with the comma) for a host")


@pytest.mark.covers("inv:S21")
def test_a_plugins_configuration_is_refused_with_who_can_read_it(tmp_path: Path) -> None:
    source = tmp_path / "aws.yml"
    source.write_text("plugin: constructed\nstrict: true\n")
    assert refusal(source) == (
        f"{source}:1: the configuration of the inventory plugin 'constructed', which only Ansible can run; "
        "try --inventory-backend ansible"
    )


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a plain file" in refusal(tmp_path / "pipe")


@pytest.mark.covers("sec:B3")
def test_a_source_of_more_than_8_mib_is_refused_at_once(tmp_path: Path) -> None:
    large = tmp_path / "large.ini"
    large.write_bytes(b"# nothing\n" * (MAX_BYTES // 10 + 1))
    assert "larger than 8 MiB" in refusal(large)


@pytest.mark.covers("inv:S2")
@pytest.mark.parametrize(
    "text",
    [
        "---\nweb: {hosts: {w1: }}\n",
        "# a comment\n\nweb:\n  hosts:\n    w1:\n",
        '"web": {hosts: {w1: }}\n',
        '{"web": {"hosts": {"w1": {}}}}\n',
        "[web]\nw1\n",
        "; a comment\n[web]\nw1 note='a: b'\n",
    ],
)
def test_a_file_without_extension_is_read_as_what_it_looks_like(text: str, tmp_path: Path) -> None:
    source = tmp_path / "hosts"
    source.write_text(text)
    assert load([str(source)]).groups["web"].hosts == ("w1",)


@pytest.mark.covers("inv:S2")
def test_a_yaml_file_is_not_tried_as_ini_too(tmp_path: Path) -> None:
    source = tmp_path / "hosts.yml"
    source.write_text("[web]\nw1\n")
    assert refusal(source).startswith(f"{source}:2: not YAML: ")


@pytest.mark.covers("inv:S12")
def test_bytes_that_are_not_utf8_are_refused_with_their_line_in_yaml_too(tmp_path: Path) -> None:
    source = tmp_path / "hosts.yml"
    source.write_bytes(b"web:\n  vars: {city: Z\xfcrich}\n")
    assert refusal(source) == f"{source}:2: not UTF-8; convert the file to UTF-8"


def test_a_hostile_file_name_is_escaped_in_the_message(tmp_path: Path) -> None:
    message = refusal(tmp_path / "x\x1b[2J\u202e\n.ini")
    assert message.isprintable()
    assert "x\\x1b[2J\\u202e\\n.ini" in message


def script(program: str, seed: str = "0") -> str:
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
    )
    return answer.stdout.decode().strip()


def test_an_ini_source_is_read_without_importing_yaml() -> None:
    program = (
        "import sys; from controller.inventory.loading import load; load(['inventory/production/hosts.ini']);"
        "print('yaml' in sys.modules); load(['inventory/staging/hosts.yml']); print('yaml' in sys.modules)"
    )
    assert script(program).split() == ["False", "True"]


@pytest.mark.covers("inv:I129")
def test_the_order_of_hosts_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "from controller.inventory.loading import load;"
        "i = load(['inventory/production', 'inventory/staging']);"
        "print(list(i.hosts), list(i.groups), [h.groups for h in i.resolved(i.hosts)])"
    )
    assert len({script(program, seed) for seed in ("1", "2", "3")}) == 1


def seconds_to_load(source: Path) -> float:
    """Processor time of one load, the best of three, so that a busy machine counts as little as it can."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        load([str(source)])
        taken.append(time.process_time() - start)
    return min(taken)


@pytest.mark.covers("inv:I128")
def test_ten_thousand_hosts_load_within_the_bars(tmp_path: Path) -> None:
    ini, yml = tmp_path / "fleet.ini", tmp_path / "fleet.yml"
    sections = [
        f"[g{g}]\n" + "".join(f"h{g}-{i} ansible_host=10.0.{g}.{i} a={i} b=x{i}\n" for i in range(50))
        for g in range(200)
    ]
    tree = "".join(f"[top{t}:children]\n" + "".join(f"g{g}\n" for g in range(t, 200, 10)) for t in range(10))
    ini.write_text("".join(sections) + tree)
    hosts = (f"    h{i}: {{ansible_host: 10.0.{i // 250}.{i % 250}, a: {i}, b: x{i}}}\n" for i in range(10_000))
    yml.write_text("all:\n  hosts:\n" + "".join(hosts))
    assert seconds_to_load(ini) < 1.5
    assert seconds_to_load(yml) < 2.0


@pytest.mark.covers("inv:I128")
def test_a_thousand_yaml_hosts_load_in_less_than_a_tenth_of_a_second(tmp_path: Path) -> None:
    source = tmp_path / "fleet.yml"
    hosts = (f"    h{i:04}: {{ansible_host: 127.0.{i // 250}.{i % 250}, fleetmedic_port: 7443}}\n" for i in range(1000))
    source.write_text("all:\n  hosts:\n" + "".join(hosts))
    assert seconds_to_load(source) < 0.1


@pytest.mark.covers("sec:B3")
@pytest.mark.parametrize("line", ["h[0:99999]", "h{n}-[0:99999]"])
def test_a_few_lines_that_stand_for_more_hosts_than_any_fleet_has_are_refused_soon(tmp_path: Path, line: str) -> None:
    source = tmp_path / "many.ini"
    source.write_text("".join(line.replace("{n}", str(n)) + "\n" for n in range(1000)))
    began = time.process_time()
    assert "hosts are named more than 300,000 times; shorten the ranges" in refusal(source)
    assert time.process_time() - began < 4
