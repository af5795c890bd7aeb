"""Proof of cure: cured, not cured, worse, or not verified; what nobody looked at is never cured."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.change import judging
from controller.change.judging import Cure, Verdict
from fleetmedic.v1.finding_pb2 import (
    STATUS_CRIT,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_SKIPPED,
    STATUS_WARN,
    Finding,
    Status,
    Subject,
)

OURS = Subject(kind="container", name="orders-app")
OTHER = Subject(kind="container", name="orders-db")
RULES = ("DOCKER-PAUSED",)


def found(status: "Status.ValueType", subject: Subject = OURS, rule: str = RULES[0]) -> Finding:
    return Finding(id=rule, status=status, subject=subject, summary="said")


def judge(before: Sequence[Finding] | None, after: Sequence[Finding] | None) -> Verdict:
    return judging.judge(RULES, OURS, before, after)


@pytest.mark.covers("exp:X4")
def test_what_was_bad_and_is_well_is_cured_and_said_in_one_line() -> None:
    made = judge([found(STATUS_CRIT)], [found(STATUS_OK, Subject())])
    assert (made.cure, made.lines) == (Cure.CURED, ("DOCKER-PAUSED orders-app: crit -> ok  said",))


@pytest.mark.covers("exp:X4")
@pytest.mark.parametrize("status", [STATUS_CRIT, STATUS_WARN, STATUS_ERROR, 77])
def test_what_is_still_bad_in_any_way_is_not_cured(status: "Status.ValueType") -> None:
    assert judge([found(STATUS_CRIT)], [found(status)]).cure == Cure.NOT_CURED


@pytest.mark.covers("exp:X4")
def test_what_got_bad_meanwhile_is_worse_even_elsewhere() -> None:
    assert judge([found(STATUS_WARN)], [found(STATUS_CRIT)]).cure == Cure.WORSE
    assert judge([found(STATUS_CRIT)], [found(STATUS_OK, Subject()), found(STATUS_WARN, OTHER)]).cure == Cure.WORSE


@pytest.mark.covers("exp:X4")
def test_another_container_that_was_bad_before_is_not_ours_to_cure() -> None:
    both = [found(STATUS_CRIT), found(STATUS_CRIT, OTHER)]
    assert judge(both, [found(STATUS_CRIT, OTHER)]).cure == Cure.CURED


@pytest.mark.covers("exp:X4")
@pytest.mark.parametrize("after", [None, [], [found(STATUS_SKIPPED)], [found(STATUS_OK, rule="OTHER-RULE")]])
def test_what_was_not_looked_at_again_is_not_verified(after: list[Finding] | None) -> None:
    made = judge([found(STATUS_CRIT)], after)
    assert (made.cure, made.passed) == (Cure.NOT_VERIFIED, False)


def test_an_action_that_names_no_rule_is_not_judged() -> None:
    assert judging.judge((), OURS, None, None).passed


STATUSES = st.sampled_from([STATUS_OK, STATUS_WARN, STATUS_CRIT, STATUS_ERROR, STATUS_SKIPPED, 77])
LOOKS = st.lists(st.builds(found, STATUSES, st.sampled_from([OURS, OTHER, Subject()])), max_size=5)


@pytest.mark.covers("exp:X4")
@given(LOOKS, LOOKS)
def test_whoever_is_called_cured_has_nothing_bad_about_it_and_was_looked_at(
    before: list[Finding], after: list[Finding]
) -> None:
    if judge(before, after).cure == Cure.CURED:
        assert any(item.status != STATUS_SKIPPED for item in after)
        assert not any(
            item.status in (STATUS_WARN, STATUS_CRIT, STATUS_ERROR, 77) and item.subject == OURS for item in after
        )
