"""A real front in this process: mutual TLS on loopback, odd certificates, a worker and a clock passed in."""

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent import freezing
from agent.config import Config, TlsFiles
from agent.front import server
from agent.front.access import Gate, Guard, House
from agent.front.alarms import Alarms
from agent.front.files import Held
from agent.front.noting import Notes
from agent.front.service import AgentService
from agent.front.unkept import Unkept
from fleetmedic.v1.agent_pb2 import (
    AuditResponse,
    CheckResponse,
    DescribeResponse,
    Identity,
    SetDenylistResponse,
    SetFreezeResponse,
    Standing,
)
from fleetmedic.v1.agent_pb2_grpc import AgentServiceServicer
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse, NotedResponse
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
    # By it the right one is found among authorities of the same name.
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
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


STANDING = Standing(audit_sequence=7, audit_head=b"head")


def well(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
    """The answer of a worker with nothing to say, which records whatever it is told."""
    del patience, wanted
    if request.HasField("check"):
        made = CheckResponse(request_id=request.check.request_id, sequence=1, last=True, standing=STANDING)
        made.agent.name = "worker"
        yield LocalResponse(check=made)
    elif request.HasField("noted"):
        yield LocalResponse(noted=NotedResponse(standing=STANDING))
    elif request.HasField("set_denylist"):
        yield LocalResponse(set_denylist=SetDenylistResponse(standing=STANDING))
    elif request.HasField("set_freeze"):
        yield LocalResponse(set_freeze=SetFreezeResponse(standing=STANDING))
    elif request.HasField("audit"):
        yield LocalResponse(audit=AuditResponse(sequence=request.audit.after_sequence + 1))
    else:
        yield LocalResponse(describe=DescribeResponse(kernel="lab", standing=STANDING))


@dataclass
class Front:
    """A running front: its port, what its worker was asked, both authorities, and what it goes by.

    `tls` are its own files, which a test may replace; `said` are the lines of its log.
    """

    port: int
    worker: Worker
    operators: Authority
    agents: Authority
    folder: Path
    agent: Files
    now: datetime.datetime
    tls: TlsFiles
    trust: Path
    held: Held
    alarms: Alarms
    guard: Guard
    said: list[str]

    def channel(self, who: Issued | Files | None, *options: tuple[str, object]) -> grpc.Channel:
        """A channel as the controller opens it, with the certificate of `who`, or without any."""
        files = self.files(who) if isinstance(who, Issued) else who
        pair = (files.key.read_bytes(), files.certificate.read_bytes()) if files else (None, None)
        credentials = grpc.ssl_channel_credentials(self.agent.root.read_bytes(), *pair)
        named = ("grpc.ssl_target_name_override", NAME)
        return grpc.secure_channel(f"127.0.0.1:{self.port}", credentials, [named, *options])

    def files(self, who: Issued) -> Files:
        return who.write(self.folder, f"client-{len(list(self.folder.iterdir()))}")

    def noted(self) -> list[tuple[str, str, str, str]]:
        """User, method, outcome and detail of what the worker was told for the audit log."""
        told = [(asked.caller, asked.noted) for asked in self.worker.asked if asked.HasField("noted")]
        return [(caller.user, noted.method, noted.outcome, noted.detail) for caller, noted in told]

    def asked(self) -> list[LocalRequest]:
        """What callers had the worker asked for: all but notes."""
        return [request for request in self.worker.asked if not request.HasField("noted")]


def installed(folder: Path, operators: Authority, agents: Authority) -> tuple[Config, TlsFiles, Files]:
    """Lay the files of an agent in a folder: certificate, key, client_ca, and a denylist that denies nobody."""
    files = agents.issue(NAME, dns=[NAME], ends=10 * DAY).write(folder / "agent", NAME)
    client_ca = operators.issue("x").write(folder / "operators").root
    tls = TlsFiles(files.certificate, files.key, client_ca)
    config = Config(None, NAME, folder, folder, listen="127.0.0.1:0", tls=tls)
    config.trust.mkdir()
    (config.trust / "denylist.pem").write_bytes(operators.denylist(1))
    return config, tls, files


@contextlib.contextmanager
def run(
    folder: Path,
    now: datetime.datetime,
    *,
    answers: Ask = well,
    utc: Callable[[], datetime.datetime] | None = None,
    service: AgentServiceServicer | None = None,
    roles: Mapping[str, str] = {},
    denied: bytes | None = None,
) -> Iterator[Front]:
    """Run a front until the block ends. `utc` is its clock, `service` replaces the product's own servicer.

    `denied` lies in the place of the denylist; where it is not given, the first one, which denies nobody.
    """
    operators, agents = organisation(now), organisation(now, "agents")
    config, tls, files = installed(folder, operators, agents)
    config = replace(config, roles=roles)
    if denied is not None:
        (config.trust / "denylist.pem").write_bytes(denied)
    clock = utc or (lambda: now)
    said: list[str] = []
    alarms = Alarms(said.append)
    held = Held(config, tls, clock, alarms)
    gate, worker = Gate(held.trusted, clock), Worker(answers)
    house = House(lambda: freezing.read(config.trust), Notes(worker.ask, alarms, pause=0.05), held.complete)
    unkept = Unkept(worker.ask, alarms, pause=0.05)
    made = service or AgentService(
        Identity(name=NAME, version="t"), worker.ask, gate.peer, gate.waiting, held, unkept, lambda: now.timestamp()
    )
    guard = Guard(gate, house)
    started, port = server.listening(config, made, guard, held.credentials())
    started.start()
    clients = folder / "clients"
    clients.mkdir(exist_ok=True)
    try:
        yield Front(port, worker, operators, agents, clients, files, now, tls, config.trust, held, alarms, guard, said)
    finally:
        started.stop(grace=0).wait()
