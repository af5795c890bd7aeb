"""Spans and moments as people type them."""

import pytest

from controller.cli import times
from tests.controller.reports import NOW


@pytest.mark.covers("exp:snooze")
@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("4h", 14400), (" 2d ", 172800), ("1.5h", 5400)]
)
def test_a_span_has_a_unit(text: str, seconds: float) -> None:
    assert times.span(text) == seconds
    assert times.until(text, NOW) == NOW + seconds


@pytest.mark.parametrize("text", ["", "4", "4 h", "-4h", "1e3s", "h", "99999999s", "٤h", "2024-01-15"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no span of time, such as 30s, 10m, 4h or 2d"):
        times.span(text)
    with pytest.raises(ValueError, match="neither a span such as 4h or 2d nor a time"):
        times.until(text, NOW)


@pytest.mark.covers("exp:snooze")
@pytest.mark.parametrize(
    "text",
    ["2024-01-15T15:40:00Z", "2024-01-15T15:40", "2024-01-15 15:40", "2024-01-15T17:40+02:00", "20240115T154000Z"],
)
def test_a_moment_without_an_offset_is_utc(text: str) -> None:
    assert times.until(text, NOW) == NOW + 3600


def test_a_day_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="2024-02-30T10:00"):
        times.until("2024-02-30T10:00", NOW)
