"""How the agent stands, for every reply: read from memory and one small file, so that it costs a check nothing."""

from agent import freezing
from agent.config import Config
from agent.journal import audit
from fleetmedic.v1.agent_pb2 import Standing


def standing(config: Config) -> Standing:
    """The audit log's head and alarms, and a freeze; the front adds what it alone knows. Never raises for a host."""
    made = Standing(alarms=audit.alarms(config.run))
    if (head := audit.head(config.run)) is not None:
        made.audit_sequence, made.audit_head = head.sequence, head.hash
    if (freeze := freezing.read(config.trust)) is not None:
        made.freeze.CopyFrom(freeze)
    return made
