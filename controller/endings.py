"""How a host may end in a fan-out, and what each ending counts as."""

from enum import StrEnum


class State(StrEnum):
    """How a host ended in a fan-out: one of these, the same in the store and in every output."""

    OK = "ok"
    # Brought to where it was to be, by a command that changes hosts.
    CHANGED = "changed"
    FAILED = "failed"
    # Changed, and then found less well than it may be.
    GATE_FAILED = "gate_failed"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    # It was asked, and we left before its answer; what was asked of it may have happened.
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    NOT_ATTEMPTED = "not_attempted"
    CANCELLED = "cancelled"

    @classmethod
    def _missing_(cls, value: object) -> "State":
        """What a later version wrote, and this one does not know, is never taken for well."""
        return cls.UNKNOWN


# The host gave no answer at all, or none in time.
SILENT = frozenset({State.UNREACHABLE, State.TIMEOUT})
# Ended as they should; all else is bad, or was not looked at.
ACHIEVED = frozenset({State.OK, State.CHANGED})
BROKEN = frozenset({State.FAILED, State.GATE_FAILED})
# How a host ends badly; the others are well, or were not tried.
BAD = SILENT | BROKEN | {State.UNKNOWN}
# It is not known what the host would have answered, and that is not its fault.
NOT_HEARD = frozenset({State.UNKNOWN, State.SKIPPED, State.CANCELLED})
