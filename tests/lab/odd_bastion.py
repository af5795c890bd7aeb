"""A bastion that answers what it should not: run by an authorized_keys line, with what is odd as its argument."""

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from controller.trust import authority, bastion, holders, register, requests, revocation


def main(oddity: str, folder: Path, now: datetime) -> None:
    """Answers a request with the one oddity; `folder` gets the authorities of lab and of others."""
    request = sys.stdin.buffer.read()
    if oddity in BEHAVIOUR:
        BEHAVIOUR[oddity]()
    ours, others = folder / "ours", folder / "others"
    for place, org in ((ours, "lab"), (others, "others")):
        if not place.exists():
            authority.initialise(place, org, now - timedelta(days=30))
    answer = bastion.signed(ours, request, "alice", "responder", now)
    foreign = bastion.signed(others, request, "alice", "responder", now)
    odd: Mapping[str, Callable[[], dict[str, bytes]]] = {
        "well": lambda: {},
        "other-key": lambda: {"certificate": _operator(ours, requests.made(_key()), "observer", now)},
        "more": lambda: {"certificate": _operator(ours, request, "admin", now)},
        "agent": lambda: {"certificate": authority.sign_agent(ours, request, "db01", now)},
        "past": lambda: {"certificate": _operator(ours, request, "observer", now - timedelta(days=1))},
        "unsigned": lambda: {"certificate": foreign.certificate},
        "others-agents": lambda: {"agent_authority": foreign.agent_authority},
        "one-for-both": lambda: {"agent_authority": answer.operator_authority},
        "others-denylist": lambda: {"denylist": foreign.denylist},
        "denied": lambda: {"denylist": _denying(ours, now)},
        "junk": lambda: {"certificate": b"junk"},
    }
    sys.stdout.write(bastion.written(dataclasses.replace(answer, **odd[oddity]())))


def _endless() -> None:
    while True:
        sys.stdout.write("x" * 65536)


BEHAVIOUR: Mapping[str, Callable[[], None]] = {
    "endless": _endless,
    "silent": lambda: time.sleep(60),
    "escapes": lambda: sys.exit("fleetmedic: \x1b[31mno\x1b]0;title\x07 \u202e"),
    "no-such-program": lambda: sys.exit(127),
}


def _operator(folder: Path, request: bytes, role: str, now: datetime) -> bytes:
    return authority.sign_operator(folder, request, "alice", role, now)


def _denying(folder: Path, now: datetime) -> bytes:
    rows = holders.denied(holders.held(register.read(folder), now), "alice", "why", now, "root")
    revocation.deny(folder, rows, now)
    return authority.denylist(folder, now)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), datetime.fromtimestamp(time.time(), UTC))
