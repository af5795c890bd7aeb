"""Patterns beyond the corpus: suggestions, empty inventories, limits."""

import pytest

from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory, InventoryError
from controller.inventory.ini import read
from controller.inventory.patterns import select


def inventory(text: str) -> Inventory:
    draft = Draft()
    read(text, "hosts.ini", draft)
    return draft.finish(["hosts.ini"])


FLEET = inventory("[web]\nweb[01:03]\n[db]\ndb01\ndb02\n[maint]\nweb02\n[idle]\n")
EMPTY = inventory("[web]\n")


def names(pattern: str, limit: str | None = None) -> list[str]:
    return [host.name for host in select(FLEET, pattern, limit)]


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
@pytest.mark.parametrize("pattern", ["", " ", "\t", ",", " , ", ":", "::", " : ", "@hosts", "!@hosts", "all,!@hosts"])
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


@pytest.mark.covers("inv:S37")
@pytest.mark.parametrize("pattern", ["bad@last", "notok@RUN"])
def test_a_selection_of_an_earlier_run_is_refused_by_name(pattern: str) -> None:
    assert "selections of earlier runs" in refusal(pattern)


def test_a_hostile_pattern_is_escaped_in_the_message() -> None:
    assert refusal("x\x1b[2J\u202e").isprintable()
    assert len(refusal("x" * 10_000)) < 400
