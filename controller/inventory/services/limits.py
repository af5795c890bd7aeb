"""Whether a limit is one that an agent of this version has; another may know more, or fewer."""

from collections.abc import Iterable
from difflib import get_close_matches

from controller.inventory.services.rules import LIMITS
from fleetmedic.v1.agent_pb2 import Limit


def limit_flaw(limit: Limit) -> str | None:
    """One line naming where it stands, what is not known, and what was meant; None where it is known."""
    where = f"{limit.origin}: fleetmedic_limits: "
    names = LIMITS.get(limit.rule)
    if names is None:
        return f"{where}no rule {limit.rule} in this version; {_meant(limit.rule, LIMITS)}"
    if limit.name in names:
        return None
    if not names:
        return f"{where}{limit.rule} has no limits; take it away"
    return f"{where}{limit.rule} has no limit {limit.name}; {_meant(limit.name, names)}"


def _meant(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    # All rules would be a page.
    return f"it has {', '.join(known)}" if isinstance(known, tuple) else "docs/checks.md has them all"
