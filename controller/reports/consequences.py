"""Which finding may follow from which: by what depends on what, and by the order in which they were seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.moments import span
from controller.reports.found import SAME_TIME, Found
from controller.reports.layers import NAMES, SURFACE, layer

# Within one service on one host: what is commonly seen after what.
COMMON: Mapping[str, frozenset[str]] = {
    "PG-LOCK-ROOT": frozenset({"PG-CONN-SATURATION", "PG-CONN-HOG", "PG-LONG-QUERY", "PG-LOCK-DDL-QUEUE"}),
    "PG-DISK": frozenset({"PG-UP"}),
    "REDIS-MEM-NEAR-MAX": frozenset({"REDIS-NOEVICTION-FULL", "REDIS-EVICTION"}),
}


@dataclass(frozen=True, slots=True)
class Link:
    """`effect` is likely a consequence of `cause` (both keys of findings), and why that is thought."""

    effect: str
    cause: str
    why: str


def links(found: Sequence[Found]) -> tuple[Link, ...]:
    """For each critical finding the nearest that may have led to it; none for those that nothing explains."""
    critical = [item for item in found if item.critical]
    made = []
    for effect in critical:
        causes = [cause for cause in critical if cause is not effect and _may_follow(cause, effect)]
        if causes:
            nearest = max(causes, key=lambda item: (layer(item.id), item.onset, item.key))
            made.append(Link(effect.key, nearest.key, _why(nearest, effect)))
    return tuple(made)


def _may_follow(cause: Found, effect: Found) -> bool:
    if cause.onset > effect.onset + SAME_TIME or _over_before(cause, effect):
        return False
    deep, high = layer(cause.id), layer(effect.id)
    shared = bool(set(cause.hosts) & set(effect.hosts))
    if deep == high:
        return shared and cause.service == effect.service and effect.id in COMMON.get(cause.id, ())
    # A host's own trouble reaches what runs on it; what users reach may depend on a service of any host.
    return deep < high and (shared or high == SURFACE)


def _over_before(cause: Found, effect: Found) -> bool:
    return cause.gone is not None and cause.gone.at < effect.onset


def _why(cause: Found, effect: Found) -> str:
    later = effect.onset - cause.onset
    when = f"seen {span(later)} later" if later > SAME_TIME else "seen within the same minute"
    if layer(cause.id) == layer(effect.id):
        return f"{when}, on the same service of the same host, where it commonly follows"
    return f"{when}; it looks at {NAMES[layer(effect.id)]}, {cause.id} at {NAMES[layer(cause.id)]}"
