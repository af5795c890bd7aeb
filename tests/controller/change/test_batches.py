"""Batches: as --serial says, every host once and in order, and never all at once unasked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.change import batches

HOSTS = tuple(f"web{number:02d}" for number in range(1, 11))
PARTS = st.one_of(st.integers(1, 30).map(str), st.integers(1, 100).map("{}%".format))


def sizes(text: str, hosts: tuple[str, ...] = HOSTS) -> list[int]:
    return [len(batch.hosts) for batch in batches.split(hosts, batches.parse(text))]


@pytest.mark.covers("inv:F4")
@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("1,25%", [1, 2, 2, 2, 2, 1]),
        ("4", [4, 4, 2]),
        ("1,100%", [1, 9]),
        ("100%", [10]),
        ("1%", [1] * 10),
        ("29%", [2] * 5),
        ("1, 3 ,5", [1, 3, 5, 1]),
    ],
)
def test_shares_are_of_all_that_are_selected_rounded_down_and_the_last_repeats(text: str, made: list[int]) -> None:
    assert sizes(text) == made


@pytest.mark.covers("inv:F4")
@pytest.mark.parametrize("text", ["0", "0%", "-1", "", "1,", "101%", "ten", "1;2", "5%%", "１"])
def test_no_size_is_none_or_nonsense(text: str) -> None:
    with pytest.raises(ValueError, match=r"batch"):
        batches.parse(text)


@pytest.mark.covers("inv:F4")
@pytest.mark.parametrize("text", ["10", "50", "1000,1"])
def test_more_than_one_host_goes_at_once_only_where_100_percent_is_typed(text: str) -> None:
    with pytest.raises(ValueError, match="all 10 hosts at once"):
        sizes(text)
    assert sizes(text, HOSTS[:1]) == [1]


@pytest.mark.covers("inv:F5")
def test_the_first_of_several_sizes_is_a_canary_and_a_single_size_has_none() -> None:
    assert [batch.canary for batch in batches.split(HOSTS, batches.parse("2,4"))] == [True, False, False]
    assert not any(batch.canary for batch in batches.split(HOSTS, batches.parse("4")))


@pytest.mark.covers("inv:F4")
@given(st.integers(0, 60), st.lists(PARTS, min_size=1, max_size=4))
def test_every_host_is_in_exactly_one_batch_in_order_and_none_is_empty(count: int, parts: list[str]) -> None:
    hosts = tuple(str(number) for number in range(count))
    try:
        made = batches.split(hosts, batches.parse(",".join(parts)))
    except ValueError:
        return
    assert tuple(name for batch in made for name in batch.hosts) == hosts
    assert all(batch.hosts for batch in made)
    assert sum(batch.canary for batch in made) <= 1
