"""A real front in this process: mutual TLS on loopback, odd certificates, a worker and a clock passed in."""

import contextlib
import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent import server
from agent.access import Gate, Peer
from agent.config import Config
from agent.server import AgentService
from fleetmedic.v1.agent_pb2 import CheckResponse, DescribeResponse, Identity
from fleetmedic.v1.agent_pb2_grpc import AgentServiceServicer
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse
from tests.lab.authority import CLIENT, DAY, Authority, Files, Issued

ORG = "lab"
NAME = "db01"
Ask = Callable[[LocalRequest, float, Callable[[], bool]], Iterator[LocalResponse]]


def organisation(now: datetime.datetime, name: str = ORG) -> Authority:
    """A self-signed authority whose subject names an organisation, which a lab authority's does not."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, f"{name} ca")]
    )
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - 30 * DAY).not_valid_after(now + 30 * DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(Issued(builder.sign(key, hashes.SHA256()), key, ()), now)


def operator(authority: Authority, role: str, user: str = "alice", **more: object) -> Issued:
    """An operator's certificate as the product's own authority makes them; `more` goes to Authority.issue."""
    given: dict[str, object] = {"uris": [f"spiffe://{ORG}/role/{role}/user/{user}"], "usages": (CLIENT,), **more}
    return authority.issue(user, **given)  # type: ignore[arg-type]


@dataclass
class Worker:
    """Answers in the worker's place, and keeps what it was asked: a request refused before it came is not among it."""

    answers: Ask
    asked: list[LocalRequest] = field(default_factory=list)

    def ask(self, request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        self.asked.append(request)
        return self.answers(request, patience, wanted)


def well(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
    """The answer of a worker with nothing to say."""
    del patience, wanted
    if request.HasField("check"):
        yield LocalResponse(check=CheckResponse(request_id=request.check.request_id, sequence=1, last=True))
    else:
        yield LocalResponse(describe=DescribeResponse(kernel="lab"))


@dataclass
class Front:
    """A running front: its port, what its worker was asked, its clock's offset, and both authorities."""

    port: int
    worker: Worker
    operators: Authority
    folder: Path
    agent: Files
    now: datetime.datetime

    def channel(self, who: Issued | Files | None, *options: tuple[str, object]) -> grpc.Channel:
        """A channel as the controller opens it, with the certificate of `who`, or without any."""
        if isinstance(who, Issued):
            who = who.write(self.folder, f"client-{len(list(self.folder.iterdir()))}")
        pair = (who.key.read_bytes(), who.certificate.read_bytes()) if who else (None, None)
        credentials = grpc.ssl_channel_credentials(self.agent.root.read_bytes(), *pair)
        named = ("grpc.ssl_target_name_override", NAME)
        return grpc.secure_channel(f"127.0.0.1:{self.port}", credentials, [named, *options])


@contextlib.contextmanager
def run(
    folder: Path,
    now: datetime.datetime,
    *,
    answers: Ask = well,
    utc: Callable[[], datetime.datetime] | None = None,
    service: AgentServiceServicer | None = None,
) -> Iterator[Front]:
    """Run a front until the block ends. `utc` is its clock, `service` replaces the product's own servicer."""
    operators = organisation(now)
    files = organisation(now, "agents").issue(NAME, dns=[NAME], ends=10 * DAY).write(folder / "agent", NAME)
    client_ca = operators.issue("x").write(folder / "operators").root
    gate = Gate(ORG, utc or (lambda: now))
    worker = Worker(answers)

    def whose(context: grpc.ServicerContext) -> Peer:
        return gate.peer(context)

    made = service or AgentService(Identity(name=NAME, version="t"), worker.ask, whose, lambda: now.timestamp())  # type: ignore[abstract]
    credentials = grpc.ssl_server_credentials(
        [(files.key.read_bytes(), files.certificate.read_bytes())], client_ca.read_bytes(), require_client_auth=True
    )
    config = Config(None, NAME, folder, folder, listen="127.0.0.1:0")
    started, port = server.listening(config, made, gate, credentials)
    started.start()
    clients = folder / "clients"
    clients.mkdir(exist_ok=True)
    try:
        yield Front(port, worker, operators, clients, files, now)
    finally:
        started.stop(grace=0).wait()
