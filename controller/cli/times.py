"""Spans and moments as people type them."""

import re
from datetime import UTC, datetime

SPAN = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)(s|m|h|d)", re.ASCII)
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# A day alone would be its midnight, which nobody means.
MOMENT = re.compile(r"\d{4}-?\d{2}-?\d{2}[T ]\d{2}:?\d{2}(?::?\d{2})?(?:Z|[+-]\d{2}:?\d{2})?", re.ASCII)


def span(text: str) -> float:
    """Seconds of 30s, 10m, 4h or 2d. ValueError says what is wrong."""
    found = SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no span of time, such as 30s, 10m, 4h or 2d")
    return float(found[1]) * UNITS[found[2]]


def until(text: str, now: float) -> float:
    """The moment, in epoch seconds, of a span from now or of an ISO time (UTC where it has no offset)."""
    if not MOMENT.fullmatch(text.strip()):
        try:
            return now + span(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is neither a span such as 4h or 2d nor a time such as 2026-11-24T08:00Z"
            ) from None
    try:
        made = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    return (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp()
