"""Times and durations as people write and read them: ISO 8601, 14:30, 15 minutes ago, 4h; always UTC, never guessed."""

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
# What a unit may be called; "m" is minutes, and nobody's report spans months.
NAMES = {
    **{name: "s" for name in ("s", "sec", "secs", "second", "seconds")},
    **{name: "m" for name in ("m", "min", "mins", "minute", "minutes")},
    **{name: "h" for name in ("h", "hr", "hrs", "hour", "hours")},
    **{name: "d" for name in ("d", "day", "days")},
}
PARTS = re.compile(r"(\d{1,6})\s*([a-z]+)\s*", re.ASCII)
CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:z|utc)?", re.ASCII)
ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})[t ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)\s*(z|utc|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)
EXAMPLES = "2024-01-15T14:30:00Z, 14:30 (UTC), '15 minutes ago' or 30m"


def instant(text: str, now: datetime) -> datetime:
    """The moment that is meant, in UTC. ValueError says what is wrong and how to write it.

    A clock time is the last one there was, so that 23:50 is yesterday's shortly after midnight; a duration counts
    back from `now`; without an offset a date is UTC.
    """
    words = " ".join(text.lower().split())
    if words == "now":
        return now
    if found := ISO.fullmatch(words):
        return _dated(text, found)
    if found := CLOCK.fullmatch(words):
        return _last(text, found, now)
    if words.isdecimal():
        raise ValueError(f"{text!r}: a number of what? Write {text.strip()}m, {text.strip()}h or {text.strip()}:00")
    seconds = _seconds(words.removesuffix(" ago"))
    if seconds is None:
        raise ValueError(f"{text!r} is no time: write it as {EXAMPLES}")
    try:
        return now - timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError(f"{text!r} lies before all dates") from error


def duration(text: str) -> float:
    """Seconds of 30s, 10m, 4h, 2d or 1h30m. ValueError says what is wrong."""
    seconds = _seconds(" ".join(text.lower().split()))
    if seconds is None:
        raise ValueError(f"{text!r} is no span of time, such as 30s, 10m, 4h or 2d")
    return float(seconds)


def until(text: str, now: datetime) -> datetime:
    """The moment, in UTC, that a duration from now or an ISO time means. ValueError says what is wrong."""
    words = " ".join(text.lower().split())
    if found := ISO.fullmatch(words):
        return _dated(text, found)
    seconds = _seconds(words)
    if seconds is None:
        raise ValueError(f"{text!r} is neither a span such as 4h or 2d nor a time such as 2026-11-24T08:00Z")
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError(f"{text!r} lies after all dates") from error


def _dated(text: str, found: re.Match[str]) -> datetime:
    day, clock, zone = found.groups()
    offset = "+00:00" if zone in (None, "z", "utc") else zone
    # datetime knows six digits of a second, and wants the minutes of an offset.
    clock = re.sub(r"([.,]\d{1,6})\d*", lambda part: f".{part[1][1:]:0<6}", clock)
    try:
        return datetime.fromisoformat(f"{day}T{clock}{offset}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no date and time there is: write it as 2024-01-15T14:30:00Z") from error


def _last(text: str, found: re.Match[str], now: datetime) -> datetime:
    hour, minute, second = (int(part or 0) for part in found.groups())
    try:
        today = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time of day: write it as 14:30") from error
    return today if today <= now else today - timedelta(days=1)


def _seconds(words: str) -> int | None:
    """Of 30m, 1h30m, 15 minutes, 2 hours 5 min; None for anything else, a bare number too."""
    place, total = 0, 0
    while place < len(words):
        found = PARTS.match(words, place)
        if found is None or found[2] not in NAMES:
            return None
        total += int(found[1]) * UNITS[NAMES[found[2]]]
        place = found.end()
    return total if place else None


def span(seconds: float) -> str:
    """A duration for people, two units at most: 45s, 2m05s, 3h10m, 2d04h."""
    whole = max(0, round(seconds))
    for unit, below in (("d", "h"), ("h", "m"), ("m", "s")):
        if whole >= UNITS[unit]:
            rest = whole % UNITS[unit] // UNITS[below]
            return f"{whole // UNITS[unit]}{unit}{rest:02d}{below}"
    return f"{whole}s"


def stamp(at: float) -> str:
    """Epoch seconds as 2024-01-15T14:30:00Z: to the second, which is as fine as hosts agree."""
    # By hand: the platform's own conversion refuses some that a hostile clock may name.
    return f"{EPOCH + timedelta(seconds=int(at)):%Y-%m-%dT%H:%M:%SZ}"
