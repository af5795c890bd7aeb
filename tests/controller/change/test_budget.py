"""The budget: over the whole run, nothing for a canary, and never past a batch that failed completely."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.change import budget
from controller.change.budget import Limit
from controller.endings import State

FIVE = (State.FAILED, State.GATE_FAILED, State.UNREACHABLE, State.TIMEOUT, State.UNKNOWN)
GOOD = (State.OK, State.CHANGED, State.SKIPPED)


@pytest.mark.covers("inv:F5")
@pytest.mark.parametrize("state", FIVE)
def test_each_of_five_endings_counts_and_none_is_allowed_unless_it_was_said(state: State) -> None:
    assert budget.stops(Limit(), 10, [state, State.CHANGED])
    assert not budget.stops(Limit(1), 10, [state, State.CHANGED])


@pytest.mark.covers("inv:F5")
@given(st.lists(st.sampled_from(GOOD)))
def test_no_other_ending_counts(states: list[State]) -> None:
    assert not budget.stops(Limit(), len(states), states, states, canary=True)


@pytest.mark.covers("inv:F5")
def test_a_share_is_rounded_down_and_of_all_that_were_selected() -> None:
    limit = budget.parse("10%")
    assert not budget.stops(limit, 19, [State.FAILED])
    assert budget.stops(limit, 19, [State.FAILED] * 2)
    assert budget.stops(limit, 9, [State.FAILED])


@pytest.mark.covers("inv:F5")
def test_a_canary_may_not_end_badly_whatever_else_is_allowed() -> None:
    assert "canary" in budget.stops(budget.parse("100%"), 10, [State.TIMEOUT], [State.TIMEOUT, State.OK], canary=True)


@pytest.mark.covers("inv:F5")
def test_a_batch_that_fails_completely_stops_whatever_else_is_allowed() -> None:
    bad = [State.FAILED, State.UNREACHABLE]
    assert budget.stops(budget.parse("100%"), 10, bad, bad)
    assert not budget.stops(budget.parse("100%"), 10, bad, [State.FAILED, State.CHANGED])


@pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "all", "5 %"])
def test_no_other_text_is_a_budget(text: str) -> None:
    with pytest.raises(ValueError, match="number of hosts"):
        budget.parse(text)
