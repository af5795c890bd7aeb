"""One GET of a health URL, and what its body says of each thing that is needed."""

import json

from agent import budgets, fetching, redact
from agent.config import Config
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target

LARGEST_BODY = 64 * 1024
MOST_CHECKS = 50
LONGEST_SAID = 200


def collect(target: Target, config: Config) -> Snapshot:
    del config
    made, body = fetching.get(target.url, budgets.HTTP_REQUEST, LARGEST_BODY)
    if made.content_type.endswith("json"):
        for name, said in _checks(body).items():
            made.checks[name] = said
    return Snapshot(http=made)


def _checks(body: bytes) -> dict[str, str]:
    """The sub-checks of a health body: {"checks": {"database": "timeout"}} or {"database": {"status": "down"}}."""
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(decoded, dict):
        return {}
    rows = next(
        (decoded[key] for key in ("checks", "details", "components") if isinstance(decoded.get(key), dict)), decoded
    )
    said = {}
    for name, value in list(rows.items())[:MOST_CHECKS]:
        value = value.get("status", value.get("state")) if isinstance(value, dict) else value
        if isinstance(value, str | bool):
            said[str(name)[:64]] = redact.text(str(value))[:LONGEST_SAID]
    return said
