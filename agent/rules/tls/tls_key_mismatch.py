"""The key in every endpoint's file belongs to its certificate.

A server with a wrong pair goes on with what it read before, and does not come back from its next start. Of the key
nothing leaves the host but whether it fits.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, finding, skipped
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("tls",)
NEXT = (
    "put the key back that the certificate was made for, or the certificate that belongs to the key, before any restart"
)

COMMAND = "openssl x509 -noout -pubkey -in CERT ; openssl pkey -pubout -in KEY"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    # Of a server that does not answer the files are looked at all the same: they may be why.
    return map(_judged, seen.of("tls"))


def _judged(snapshot: Snapshot) -> Finding:
    file, target = snapshot.tls.file, snapshot.target
    if target.origin == "discovered":
        return skipped(target, "found by its port: name it in [[tls_endpoint]] or fleetmedic_tls")
    if not file.key_path:
        return skipped(target, "agent.toml names no key file for it")
    if "denied" in (file.error_class, file.key_error_class):
        return skipped(target, f"needs root to read {file.path if file.error_class else file.key_path}")
    if "unsupported" in (file.error_class, file.key_error_class):
        return skipped(target, file.error_text or file.key_error_text)
    same = COMMAND.replace("CERT", shlex.quote(file.path)).replace("KEY", shlex.quote(file.key_path))
    wrong = file.error_text or file.key_error_text
    if wrong:
        return finding(STATUS_CRIT, target, wrong, equal_command=same, next_step=NEXT)
    return finding(STATUS_OK, target, f"{file.key_path} fits {file.path}", equal_command=same)
