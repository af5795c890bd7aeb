"""How long anything may take, in seconds: each bound lies inside the one that waits for it.

The controller's command deadline (10 s by default) > the call's deadline > a probe's kill budget > the client
library's own timeouts. docs/architecture.md prints the same table; a test holds the two together.
"""

from collections.abc import Mapping
from types import MappingProxyType

# The longest a caller may ask an agent to work on one call (security.md F14: "no deadline" is 9e18 s, not None).
LONGEST_CALL = 600.0
# What the agent keeps of a call's time for judging and sending.
ANSWER_MARGIN = 0.25
# A check asked without a deadline over standard input.
CHECK = 10.0
# All that is bad and known by then is sent at once.
EARLY_ANSWER = 0.3

# To look at what an action would do, and to look again before it begins.
OPERATION = 40.0
OPERATION_BEGINS = 30.0

DISCOVERY_KILL = 2.0
PROBE_KILL: Mapping[str, float] = MappingProxyType(
    {
        "postgres": 6.0,
        "redis": 3.0,
        "docker": 4.0,
        "filesystem": 2.0,
        "memory": 2.0,
        "kernel": 2.0,
        "postgres_disk": 2.0,
        "tls": 4.0,
        "dns": 4.0,
        "http": 6.0,
        "page": 7.0,
        "dependency": 6.0,
        "python": 2.0,
        "processes": 3.0,
        "errors": 6.0,
        "own_certificate": 2.0,
    }
)

POSTGRES_CONNECT = 2
POSTGRES_STATEMENT_MS = 2500
POSTGRES_LOCK_MS = 200
# The resident connection answers within this or is taken for stuck; longer than its statement timeout.
POSTGRES_RESIDENT = 3.0
REDIS_SOCKET = 2.0
DOCKER_SOCKET = 3.0
# For the logs of all containers together.
LOGS = 5.0
# Discovery asks the engine for container names only; without them it goes by container id.
DISCOVERY_DOCKER_SOCKET = 0.5
TLS_HANDSHAKE = 3.0
DNS_LOOKUP = 2.0
HTTP_REQUEST = 5.0
TCP_CONNECT = 2.0
# For a page and all it names.
PAGE = 6.0
