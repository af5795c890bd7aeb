"""Every endpoint serves the certificate that lies in its file.

One that was renewed and not reloaded ends on the old date all the same. Where the file is mounted alone into a
container, a renewal that renames a new file into place is not seen in there, however often the server is reloaded.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, errored, finding, skipped
from agent.rules.tls import named
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Certificate, Snapshot

NEEDS = ("tls",)
NEXT = (
    "reload the server; in a container with the file mounted alone, restart the container: a reload sees the old file"
)


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    return named(seen, _judged)


def _judged(snapshot: Snapshot) -> Finding:
    tls, target = snapshot.tls, snapshot.target
    if not tls.file.path:
        return skipped(target, "agent.toml names no certificate file for it")
    if tls.file.error_class == "denied":
        return skipped(target, f"needs root to read {tls.file.path}")
    if tls.file.error_class:
        return errored(target, tls.file.error_text)
    served, lying = tls.chain[0], tls.file.chain[0]
    same = f"openssl x509 -noout -serial -enddate -fingerprint -sha256 -in {shlex.quote(tls.file.path)}"
    if served.sha256 == lying.sha256:
        return finding(STATUS_OK, target, f"serves what lies in {tls.file.path}", equal_command=same)
    summary = (
        f"serves serial {_told(served)}, and {tls.file.path} has serial {_told(lying)}, "
        f"changed {tls.file.changed_time.ToJsonString()[:19]}Z"
    )
    return finding(STATUS_CRIT, target, summary, equal_command=same, next_step=NEXT)


def _told(item: Certificate) -> str:
    return f"{item.serial} (until {item.not_after.ToJsonString()[:10]})"
