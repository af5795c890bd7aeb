"""The exit codes of every command, one meaning each (`fleetmedic check --help` prints them)."""

from collections.abc import Iterable

from controller.endings import BROKEN, SILENT, State
from controller.host_report import HostReport

OWN_ERROR = 1
FAILED = 2
UNREACHABLE = 4
STOPPED = 8
WARNED = 16
USAGE = 64
BAD_DATA = 65
NO_AGENT = 69
REFUSED = 75
NOT_PERMITTED = 77
# And the number of the signal: 130 after Ctrl-C, 143 after SIGTERM. No other code is as high.
SIGNALLED = 128

TABLE = """\
Exit codes:
  0    all well
  1    an error of fleetmedic itself
  2    a check is critical, or could not look, on some host
  4    some host gave no answer (6: both)
  8    stopped by a budget or a gate: hosts were left as they are
  16   warnings, with --strict (added to the others)
  64   wrong use of the command
  65   the inventory, a pattern or a configuration is wrong
  69   no agent answered, where the command needs one
  75   refused, and nothing was changed: a plan, a lease, a freeze
  77   not permitted: certificates or role
  130  interrupted, as --watch always is: what came in is shown and kept
  143  the same by SIGTERM
  129  the same by SIGHUP
With --new and --baseline 2, 4 and 16 speak of what is new or worse alone.
What is snoozed sets none of them.
With --format nagios: 0 OK, 1 WARNING, 2 CRITICAL (or a host gives no
answer), 3 UNKNOWN; 64 stays."""


def of_check(reports: Iterable[HostReport], *, strict: bool) -> int:
    """Bits 2 and 4 only ever mean hosts."""
    given = tuple(reports)
    warned = strict and any(report.warns for report in given)
    return of_states(report.state for report in given) | (WARNED if warned else 0)


def of_states(states: Iterable[State]) -> int:
    """2 where a host failed, 4 where one gave no answer; 0 where neither."""
    code = 0
    for state in states:
        if state in BROKEN or state == State.NOT_ATTEMPTED:
            code |= FAILED
        if state in SILENT or state == State.UNKNOWN:
            code |= UNREACHABLE
    return code


def of_change(states: Iterable[State], *, refused: bool, touched: bool = False) -> int:
    """REFUSED alone where an agent would not and none was `touched`: none may have been changed."""
    ended = tuple(states)
    if refused and not touched:
        return REFUSED
    code = of_states(state for state in ended if state != State.NOT_ATTEMPTED)
    return code | (STOPPED if State.NOT_ATTEMPTED in ended else 0)
