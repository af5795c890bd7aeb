"""What commands have in common that call every agent of a pattern: endpoints, identity, and how Ctrl-C ends them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from signal import Signals

from controller import exit_codes
from controller.cli import looking
from controller.cli.looking import Asked
from controller.cli.options import Desk
from controller.inventory import connection
from controller.inventory.connection import AGENTLESS, Endpoint
from controller.transport.mtls import Identity
from controller.trust import files


@dataclass(slots=True)
class Chosen:
    """The agents of a pattern, in its order, and the hosts that have none with the reason; the signal that came."""

    endpoints: Sequence[Endpoint]
    agentless: Sequence[tuple[str, str]]
    identity: Identity
    signal: Signals | None = field(default=None)

    def interrupted(self, number: Signals, waiting: int) -> None:
        self.signal = self.signal or number
        looking.tell_interrupted(number, waiting)

    def code(self, of_hosts: int) -> int:
        """The exit code; after Ctrl-C 130 or as it is for the signal."""
        return of_hosts if self.signal is None else exit_codes.SIGNALLED + self.signal


def chosen(desk: Desk, asked: Asked) -> Chosen:
    """InventoryError where a host's address is wrong; TrustError where our own certificate can't be used."""
    identity = files.load(desk.text("certificate"), desk.text("key"), desk.text("ca"), desk.now())
    return Chosen(
        [connection.endpoint(host) for host in asked.hosts if connection.has_agent(host)],
        [(host.name, AGENTLESS) for host in asked.hosts if not connection.has_agent(host)],
        identity,
    )
