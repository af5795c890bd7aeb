"""Patterns beyond the corpus: suggestions, empty inventories, limits."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from controller.endings import State
from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory
from controller.inventory.origins import InventoryError
from controller.inventory.patterns.question import Means
from controller.inventory.patterns.selecting import select
from controller.inventory.sources.ini import read


def inventory(text: str) -> Inventory:
    draft = Draft()
    read(text, "hosts.ini", draft)
    return draft.finish(["hosts.ini"])


FLEET = inventory("[web]\nweb[01:03]\n[db]\ndb01\ndb02\n[maint]\nweb02\n[idle]\n")
EMPTY = inventory("[web]\n")


def names(pattern: str, limit: str | None = None) -> list[str]:
    return list(select(FLEET, pattern, limit))


def refusal(pattern: str, limit: str | None = None, fleet: Inventory = FLEET) -> str:
    with pytest.raises(InventoryError) as error:
        select(fleet, pattern, limit)
    return str(error.value)


@pytest.mark.covers("inv:P204")
@pytest.mark.parametrize(
    ("pattern", "near"),
    [("wbe", "web"), ("db1", "db01"), ("web:!maintt", "maint"), ("web,&mant", "maint"), ("web04", "web03")],
)
def test_a_term_that_matches_nothing_gets_the_nearest_names(pattern: str, near: str) -> None:
    message = refusal(pattern)
    assert "matches nothing" in message
    assert near in message.rpartition("did you mean ")[2]


@pytest.mark.covers("inv:P204")
def test_a_name_without_its_domain_gets_the_whole_name() -> None:
    fleet = inventory("[web]\nweb01.example.net\nweb02.example.net\n")
    assert refusal("web01", fleet=fleet).endswith("did you mean web01.example.net?")


@pytest.mark.covers("inv:P204")
def test_a_mistyped_exclusion_says_what_it_would_do() -> None:
    assert "exclusion 'mant' matches nothing (a typo here would widen the target)" in refusal("web:!mant")


@pytest.mark.covers("inv:P204")
@pytest.mark.parametrize("pattern", ["all", "*"])
def test_all_of_an_empty_inventory_is_no_host_and_no_error(pattern: str) -> None:
    assert select(EMPTY, pattern) == ()


@pytest.mark.covers("inv:P204")
@pytest.mark.parametrize("pattern", ["web", "w*", "all:!web", "all,all", "all[0]", "web01"])
def test_any_other_pattern_over_an_empty_inventory_is_refused(pattern: str) -> None:
    refusal(pattern, fleet=EMPTY)


@pytest.mark.covers("inv:P205")
@pytest.mark.parametrize("pattern", ["", " ", "\t", ",", " , ", ":", "::", " : ", "@", "!@hosts", "all,!@hosts"])
def test_an_empty_pattern_or_limit_never_means_everybody(pattern: str) -> None:
    assert refusal(pattern).startswith("pattern ")
    assert refusal("all", pattern).startswith("limit ")


@pytest.mark.covers("inv:P205")
@pytest.mark.parametrize("pattern", ["!", "&", "web:!", "web,&", "!!web", "!&web", "~", "!~", "&~"])
def test_a_sign_without_a_name_is_refused(pattern: str) -> None:
    refusal(pattern)


@pytest.mark.covers("inv:S34")
def test_exclusions_come_last_wherever_they_stand() -> None:
    assert names("!maint:web:&web") == ["web01", "web03"]
    assert names("web:!maint:web02") == ["web01", "web03"]


@pytest.mark.covers("inv:S37")
def test_a_limit_narrows_and_keeps_the_patterns_order() -> None:
    assert names("db,web", "web02,db02") == ["db02", "web02"]
    assert "with limit 'db': no host is left" in refusal("web", "db")


@pytest.mark.covers("inv:S35")
def test_an_empty_group_is_known_but_selects_no_host() -> None:
    assert "selects no host" in refusal("idle")
    assert names("web:!idle") == ["web01", "web02", "web03"]


@pytest.mark.covers("inv:S33")
@pytest.mark.parametrize("pattern", ["web[0", "web]0", "web[[0]]", "]", "["])
def test_a_bracket_without_its_other_half_is_refused(pattern: str) -> None:
    refusal(pattern)


RUNS: Mapping[str, Mapping[str, State]] = {
    "7F3K": {
        "web01": State.OK,
        "web02": State.FAILED,
        "web03": State.UNREACHABLE,
        "db01": State.TIMEOUT,
        "db02": State.CANCELLED,
    },
    "GONE": {"web01": State.FAILED, "web09": State.FAILED, "web10": State.UNKNOWN},
    "MANY": {
        "web01": State.CHANGED,
        "web02": State.GATE_FAILED,
        "web03": State.UNKNOWN,
        "db01": State.SKIPPED,
        "db02": State.NOT_ATTEMPTED,
    },
}


def of_runs(pattern: str, limit: str | None = None) -> list[str]:
    return list(select(FLEET, pattern, limit, Means(RUNS.__getitem__)))


@pytest.mark.covers("inv:S37", "exp:limits", "inv:F1")
@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("bad@7F3K", ["web02", "web03", "db01"]),
        ("notok@7F3K", ["web02", "web03", "db01", "db02"]),
        ("ok@7F3K", ["web01"]),
        ("unreachable@7F3K", ["web03", "db01"]),
        ("notstarted@7F3K", ["db02"]),
        ("bad@MANY", ["web02", "web03"]),
        ("notok@MANY", ["web02", "web03", "db02"]),
        ("ok@MANY", ["web01"]),
        ("notstarted@MANY", ["db02"]),
        ("web:&bad@7F3K", ["web02", "web03"]),
        ("web,!bad@7F3K", ["web01"]),
    ],
)
def test_hosts_of_an_earlier_run_are_selected_by_how_they_ended(pattern: str, hosts: list[str]) -> None:
    assert of_runs(pattern) == hosts
    assert of_runs("all", pattern) == [name for name in FLEET.hosts if name in hosts]


@pytest.mark.covers("inv:P204")
@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("unreachable@GONE", "run 'GONE' has no host that is unreachable"),
        ("bad@GONE", "run 'GONE' has 'web09' and 1 more, which this inventory has not"),
        ("worse@GONE", "'worse@GONE' matches nothing; hosts of an earlier run are bad@RUN, notok@RUN, ok@RUN, "),
    ],
)
def test_a_selection_of_a_run_that_drops_a_host_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(InventoryError) as error:
        of_runs(pattern)
    assert said in str(error.value)


@pytest.mark.covers("inv:P204")
def test_what_matches_nothing_is_left_out_with_a_warning_where_that_is_allowed() -> None:
    told: list[str] = []
    means = Means(RUNS.__getitem__, told.append)
    assert select(FLEET, "web,wbe,!mant", None, means) == ("web01", "web02", "web03")
    assert [text.partition(": ")[2] for text in told] == [
        "'wbe' matches nothing: left out (--allow-unmatched)",
        "exclusion 'mant' matches nothing (a typo here would widen the target): left out (--allow-unmatched)",
    ]
    assert select(FLEET, "bad@GONE", None, means) == ("web01",)
    for pattern in ("wbe", "", ",", "@", "&wbe"):
        with pytest.raises(InventoryError):
            select(FLEET, pattern, None, means)


@pytest.mark.covers("inv:S38", "exp:limits")
@pytest.mark.parametrize(
    ("pattern", "limit", "hosts"),
    [
        ("all", "10%", ["web01"]),
        ("all", "1%", ["web01"]),
        ("all", "20%", ["web01"]),
        ("all", "21%", ["web01", "web02"]),
        ("db,web", "41%", ["db01", "db02", "web01"]),
        ("all", "100%", ["web01", "web02", "web03", "db01", "db02"]),
        ("40%", None, ["web01", "web02"]),
        ("40%", "web02", ["web02"]),
    ],
)
def test_a_share_is_the_first_of_the_target_order_rounded_up(pattern: str, limit: str | None, hosts: list[str]) -> None:
    assert names(pattern, limit) == hosts


@pytest.mark.covers("inv:P204", "inv:P205")
@pytest.mark.parametrize("share", ["0%", "101%", "web,10%", "10%:&web", "!10%", "5 %"])
def test_a_share_that_is_none_or_only_a_part_is_refused(share: str) -> None:
    refusal(share)
    refusal("all", share)


@pytest.mark.covers("inv:P204")
def test_a_share_of_an_empty_inventory_is_refused() -> None:
    refusal("10%", fleet=EMPTY)


@pytest.mark.covers("inv:S37", "inv:P205")
def test_a_file_of_hosts_has_a_term_a_line_unsplit(tmp_path: Path) -> None:
    file = tmp_path / "hosts.retry"
    file.write_text("web03\n\n  ~db0(?:1|2)  \n!db02\n")
    assert names(f"@{file}") == ["web03", "db01"]
    assert names("all", f"@{file},web01") == ["web01", "web03", "db01"]
    file.write_text("web01,web02\n")
    assert "'web01,web02' matches nothing" in refusal(f"@{file}")
    file.write_text(f"@{file}\n")
    assert "names another file" in refusal(f"@{file}")
    for empty in ("", " \n\t\n"):
        file.write_text(empty)
        assert "names no host" in refusal(f"@{file}")
        assert "names no host" in refusal("all", f"@{file}")


@pytest.mark.covers("inv:P204", "exp:limits")
def test_a_service_selects_the_hosts_that_name_it() -> None:
    fleet = inventory(
        "w1 fleetmedic_services=\"['orders']\"\nw2 fleetmedic_services=\"['{{ other }}', 'mail']\" other=carts\nw3\n"
    )
    assert select(fleet, "service=orders") == ("w1",)
    assert select(fleet, "all:!service=carts") == ("w1", "w3")
    assert "no host has the service 'order'; did you mean orders?" in refusal("service=order", fleet=fleet)


def test_a_hostile_pattern_is_escaped_in_the_message() -> None:
    assert refusal("x\x1b[2J\u202e").isprintable()
    assert len(refusal("x" * 10_000)) < 400
