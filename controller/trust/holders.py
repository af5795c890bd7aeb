"""Who holds which certificate, and how it stands, by the register alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum

from controller.trust.files import TrustError
from controller.trust.register import MADE, REVOKED, Entry, Register

SERIAL = re.compile(r"[0-9A-F]{6,40}")
# An authority is renewed at leisure: the root has to be fetched for it.
AUTHORITY_SOON = timedelta(days=365)
# An agent that ended longer ago is no news.
REMEMBERED = timedelta(days=90)


class Standing(StrEnum):
    """Worst first, which is the order of a list."""

    ENDED = "ended"
    SOON = "ends soon"
    REVOKED = "revoked"
    VALID = "valid"
    REPLACED = "replaced"


ORDER = tuple(Standing)


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate as it was made, how it stands, and the denial where there is one."""

    made: Entry
    standing: Standing
    denial: Entry | None = None


def held(register: Register, now: datetime) -> Sequence[Held]:
    """Every certificate there was, worst first, then by kind, name and end."""
    denials = {row.serial: row for row in register.entries if row.what == REVOKED}
    made = [row for row in register.entries if row.what in MADE]
    latest = {(row.kind, row.name): row for row in made}
    found = [
        Held(row, _standing(row, latest[row.kind, row.name], denials, now), denials.get(row.serial)) for row in made
    ]
    return sorted(found, key=lambda item: (ORDER.index(item.standing), item.made.kind, item.made.name, item.made.ends))


def _standing(row: Entry, latest: Entry, denials: Mapping[str, Entry], now: datetime) -> Standing:
    if row.serial in denials:
        return Standing.REVOKED
    # One operator may well have two; a host and an authority go on with the newest.
    if row.kind != "operator" and latest is not row:
        return Standing.REPLACED
    if row.ends <= now:
        return Standing.ENDED
    soon = AUTHORITY_SOON if row.kind == "authority" else (row.ends - row.begins) / 2
    return Standing.SOON if row.kind != "operator" and row.ends - now < soon else Standing.VALID


def current(every: Sequence[Held], now: datetime) -> Sequence[Held]:
    """Those that somebody should know of: without what was replaced, and operators' that have ended, as they do."""
    return [item for item in every if item.standing != Standing.REPLACED and _news(item.made, now)]


def _news(row: Entry, now: datetime) -> bool:
    return row.ends > now or (row.kind != "operator" and row.ends + REMEMBERED > now)


def find(every: Sequence[Held], word: str) -> Sequence[Held]:
    """Those of a name, or the one of a serial or its beginning. TrustError where there is none."""
    named = [item for item in every if item.made.name == word]
    if named:
        return named
    serial = word.replace(":", "").upper()
    if SERIAL.fullmatch(serial):
        numbered = [item for item in every if item.made.serial.startswith(serial)]
        if len(numbered) == 1:
            return numbered
        if numbered:
            raise TrustError(f"{word!r} begins several serials: write more of it, as `fleetmedic pki list` has it")
    close = get_close_matches(word, {item.made.name for item in every}, n=1)
    mend = f"did you mean {close[0]!r}?" if close else "`fleetmedic pki list --all` has them"
    raise TrustError(
        f"{word!r} is nobody to whom a certificate was issued here, and no serial; {mend}; "
        "what a bastion signed is in its register alone: run this there"
    )


def denied(every: Sequence[Held], word: str, reason: str, now: datetime, actor: str) -> Sequence[Entry]:
    """What the register will say of an operator's certificates that are valid: all of a user's, or one by its serial.

    TrustError where there is none to deny.
    """
    found = find(every, word)
    ours = [item for item in found if item.made.kind == "operator"]
    if not ours:
        raise TrustError(_undeniable(found[0].made))
    valid = [item.made for item in ours if item.standing == Standing.VALID]
    if not valid:
        last = max(ours, key=lambda item: item.made.ends)
        said = "was denied already" if last.denial else f"ended on {last.made.ends:%Y-%m-%d %H:%MZ}"
        raise TrustError(f"{word!r} has no certificate that is valid: the last one {said}")
    return [replace(row, at=now, what=REVOKED, reason=reason, actor=actor) for row in valid]


def _undeniable(row: Entry) -> str:
    if row.kind == "authority":
        return f"{row.name} is an authority: make others with `fleetmedic pki init` in another folder, and change over"
    return (
        f"{row.name}'s certificate is an agent's, and no caller can be told not to believe one (gRPC takes no CRL): "
        "give the host another name in the inventory and a certificate for that; "
        f"the old one ends on {row.ends:%Y-%m-%d}"
    )
