"""Ranges and ports in host entries."""

import pytest

from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources.ranges import expand, literal

HERE = Origin("hosts.ini", 3)


@pytest.mark.covers("inv:S13")
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("web", ["web"]),
        ("n[1:3]", ["n1", "n2", "n3"]),
        ("n[:2]", ["n0", "n1", "n2"]),
        ("n[08:11]", ["n08", "n09", "n10", "n11"]),
        ("n[1:9:4]x", ["n1x", "n5x", "n9x"]),
        ("[y:B]", ["y", "z", "A", "B"]),
        ("r[1:2]n[a:b]", ["r1na", "r1nb", "r2na", "r2nb"]),
        ("192.0.2.[9:10]", ["192.0.2.9", "192.0.2.10"]),
        ("2001:db8::[1:2]", ["2001:db8::1", "2001:db8::2"]),
    ],
)
def test_a_range_stands_for_its_names_in_order(text: str, names: list[str]) -> None:
    assert expand(text, HERE) == (names, None)


@pytest.mark.covers("inv:S14")
@pytest.mark.parametrize(
    ("text", "names", "port"),
    [
        ("web:22", ["web"], 22),
        ("web[1:2]:22", ["web1", "web2"], 22),
        ("[1:2]:22", ["1", "2"], 22),
        ("[2001:db8::7]:22", ["2001:db8::7"], 22),
        ("[2001:db8::[7:8]]:22", ["2001:db8::7", "2001:db8::8"], 22),
        ("[web.example]:22", ["web.example"], 22),
        ("2001:db8::7", ["2001:db8::7"], None),
    ],
)
def test_a_port_comes_after_the_last_colon_but_not_in_a_bare_ipv6_address(
    text: str, names: list[str], port: int | None
) -> None:
    assert expand(text, HERE) == (names, port)


@pytest.mark.covers("inv:S14")
@pytest.mark.parametrize("text", ["web_:22", "web-:22", "web..x:22", ".web:22", "user@web:22", "w[1:2]_:22"])
def test_a_port_that_ansible_takes_for_a_part_of_the_name_is_refused(text: str) -> None:
    with pytest.raises(InventoryError, match=r"it as one name; write ansible_port=22 instead$"):
        expand(text, HERE)


@pytest.mark.covers("inv:S13", "inv:S14")
@pytest.mark.parametrize(
    "text",
    ["n[1:03x]", "n[5:3]", "n[b:a]", "n[a:3]", "n[1:3:0]", "n[1:3:x]", "n[1:2:3:4]", "n[]", "n[1:", "n]1[", "n[[1:2]]"]
    + ["n[1:9999999999]", "n[1:1000000]", "web:", "web:ssh", "web:0", "web:65536", "web:22:23", "fe80::1%eth0"],
)
def test_what_is_no_range_or_port_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(InventoryError, match=r"^hosts\.ini:3: .+; .+$"):
        expand(text, HERE)


@pytest.mark.covers("inv:S1")
def test_brackets_in_a_host_list_are_a_part_of_the_name() -> None:
    assert literal("x[1:3]", HERE) == ("x[1:3]", None)
    assert literal("[2001:db8::1]:23", HERE) == ("2001:db8::1", 23)
