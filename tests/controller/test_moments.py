"""Times as people write them: each form means one moment, and what could mean two is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.moments import duration, instant, span, stamp, until

NOW = datetime(2024, 1, 15, 15, 15, 30, tzinfo=UTC)


@pytest.mark.covers("exp:times")
@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2024-01-15T14:30:00Z", "2024-01-15T14:30:00"),
        ("2024-01-15t14:30z", "2024-01-15T14:30:00"),
        ("2024-01-15 14:30:05", "2024-01-15T14:30:05"),
        ("2024-01-15T16:30:00+02:00", "2024-01-15T14:30:00"),
        ("2024-01-15T09:30-05", "2024-01-15T14:30:00"),
        ("2024-01-15 14:30 UTC", "2024-01-15T14:30:00"),
        ("2024-01-15T14:30:00.123456789Z", "2024-01-15T14:30:00.123456"),
        ("14:30", "2024-01-15T14:30:00"),
        ("14:30:59z", "2024-01-15T14:30:59"),
        ("9:05", "2024-01-15T09:05:00"),
        ("23:50", "2024-01-14T23:50:00"),
        ("15 minutes ago", "2024-01-15T15:00:30"),
        ("1 hour ago", "2024-01-15T14:15:30"),
        ("2 hours 5 min ago", "2024-01-15T13:10:30"),
        ("30m", "2024-01-15T14:45:30"),
        ("1h30m", "2024-01-15T13:45:30"),
        ("90s", "2024-01-15T15:14:00"),
        ("1d", "2024-01-14T15:15:30"),
        ("  Now ", "2024-01-15T15:15:30"),
    ],
)
def test_each_form_means_one_moment_in_utc(text: str, meant: str) -> None:
    assert instant(text, NOW) == datetime.fromisoformat(meant).replace(tzinfo=UTC)


@pytest.mark.covers("exp:times")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("90", "'90': a number of what? Write 90m, 90h or 90:00"),
        ("1430", "a number of what?"),
        ("25:10", "is no time of day"),
        ("2024-02-30T10:00Z", "is no date and time there is"),
        ("2024-01-15", "is no time: write it as 2024-01-15T14:30:00Z"),
        ("01/02/2024 10:00", "is no time"),
        ("yesterday", "is no time"),
        ("15 parsecs ago", "is no time"),
        ("in 5 minutes", "is no time"),
        ("m", "is no time"),
        ("ago", "is no time"),
        ("", "is no time"),
        ("999999d", "lies before all dates"),
    ],
)
def test_what_could_mean_something_else_is_refused_with_the_mend(text: str, said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        instant(text, NOW)
    assert said in str(refusal.value)


@given(st.text(max_size=30))
def test_any_text_is_a_moment_in_utc_or_a_value_error(text: str) -> None:
    try:
        found = instant(text, NOW)
    except ValueError:
        return
    assert found.utcoffset() == timedelta(0)


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1)))
def test_a_stamp_is_read_back_as_the_same_second(at: datetime) -> None:
    whole = at.replace(microsecond=0, tzinfo=UTC)
    assert instant(stamp(whole.timestamp()), NOW) == whole


@given(st.datetimes(timezones=st.just(UTC)), st.integers(0, 23), st.integers(0, 59))
def test_a_time_of_day_is_never_still_to_come_and_less_than_a_day_ago(now: datetime, hour: int, minute: int) -> None:
    if now.year == 1:
        return
    assert timedelta(0) <= now - instant(f"{hour:02d}:{minute:02d}", now) < timedelta(days=1)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (45.4, "45s"), (60, "1m00s"), (125, "2m05s"), (11_400, "3h10m"), (187_200, "2d04h"), (-3, "0s")],
)
def test_a_span_is_two_units_at_most(seconds: float, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.covers("exp:snooze")
@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("4h", 14400), (" 2d ", 172800), ("1h30m", 5400), ("90 minutes", 5400)],
)
def test_a_span_has_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == seconds
    assert until(text, NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "4", "4 x", "-4h", "1e3s", "1.5h", "h", "99999999s", "٤h", "2024-01-15"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no span of time, such as 30s, 10m, 4h or 2d"):
        duration(text)
    with pytest.raises(ValueError, match="neither a span such as 4h or 2d nor a time"):
        until(text, NOW)


@pytest.mark.covers("exp:snooze")
@pytest.mark.parametrize(
    "text",
    ["2024-01-15T16:15:30Z", "2024-01-15T16:15:30", "2024-01-15 16:15:30", "2024-01-15T18:15:30+02:00"],
)
def test_a_moment_without_an_offset_is_utc(text: str) -> None:
    assert until(text, NOW) == NOW + timedelta(hours=1)


def test_a_day_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="2024-02-30T10:00"):
        until("2024-02-30T10:00", NOW)
