"""A request that is not carried out: of which kind, and why."""

from fleetmedic.v1.local_pb2 import RefusalKind


class Refused(Exception):
    """Nothing was changed; the reason is for people."""

    def __init__(self, kind: "RefusalKind.ValueType", reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
