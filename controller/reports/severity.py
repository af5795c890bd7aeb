"""The four severities: what each means, how soon somebody responds, and which review follows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Severity:
    """`review_hours`: until when the post-mortem is due, counted from the end; None where none is demanded.

    `light`: a lightweight review of three sections is enough.
    """

    name: str
    impact: str
    response: str
    cadence: str
    review_hours: int | None
    light: bool


LEVELS: Mapping[str, Severity] = {
    level.name: level
    for level in (
        Severity("SEV1", "complete outage, all users affected", "within 5 minutes", "every 15 minutes", 48, False),
        Severity("SEV2", "major degradation, most users affected", "within 15 minutes", "every 30 minutes", 48, False),
        Severity("SEV3", "partial degradation, some users affected", "within an hour", "every 2 hours", None, True),
        Severity("SEV4", "minor issue, few users affected", "within 4 hours", "daily", None, True),
    )
}


def parse(text: str) -> Severity:
    """SEV2, sev2, P2, p2 and 2 are the same. ValueError names the four."""
    found = re.fullmatch(r"(?:sev|p)?[ -]?([1-4])", text.strip().lower(), re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is no severity: {', '.join(LEVELS)} (or P1 to P4, or 1 to 4)")
    return LEVELS[f"SEV{found[1]}"]
