"""The agent's own key and certificate: what is put in place, what never is, and what is left where it was cut off."""

import datetime
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from agent import own_certificate
from agent.config import TlsFiles
from agent.own_certificate import NothingPendingError, OwnCertificateError
from tests.agent.front import organisation
from tests.lab.authority import CLIENT, DAY, SERVER, Authority, Files, Public, new_key, pem

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
AGENTS = organisation(NOW, "agents")
NAME = "db01"


@dataclass(frozen=True)
class Host:
    """An agent's files, with a certificate that works."""

    tls: TlsFiles

    def state(self) -> dict[str, bytes]:
        folder = self.tls.key.parent
        return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}

    def works(self) -> x509.Certificate:
        return own_certificate.checked_pair(self.tls.key.read_bytes(), self.tls.certificate.read_bytes())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Lay an agent's files in a folder of their own."""
    files: Files = AGENTS.issue(NAME, dns=[NAME]).write(tmp_path / "identity", "agent")
    files.root.unlink()
    return Host(TlsFiles(files.certificate, files.key, tmp_path / "operator-ca.crt"))


def public(request: bytes) -> Public:
    found = x509.load_pem_x509_csr(request)
    assert found.is_signature_valid
    key = found.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    return key


def signed(request: bytes, authority: Authority = AGENTS, **more: object) -> bytes:
    given: dict[str, object] = {"dns": [NAME], "public": public(request), "ends": 90 * DAY, **more}
    return pem(authority.issue(NAME, **given).certificate) + pem(authority.own.certificate)  # type: ignore[arg-type]


def leaf(chain: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(chain)


@pytest.mark.covers("sec:renew")
def test_a_request_leaves_what_is_in_use_alone_and_its_key_is_for_its_user_alone(host: Host) -> None:
    before = host.state()
    request = own_certificate.request(host.tls, NAME)
    waiting = host.tls.key.with_name("agent.key.new")
    assert stat.S_IMODE(waiting.stat().st_mode) == 0o600
    assert {name: text for name, text in host.state().items() if name != waiting.name} == before
    assert b"PRIVATE" not in request
    names = x509.load_pem_x509_csr(request).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(NAME)]


@pytest.mark.covers("sec:renew")
@pytest.mark.parametrize("renews", [True, False])
def test_a_certificate_for_the_key_that_waits_is_put_in_place_with_it(host: Host, renews: bool) -> None:  # noqa: FBT001
    chain = signed(own_certificate.request(host.tls, NAME))
    own_certificate.accept(host.tls, chain, NAME, NOW, renews=renews)
    assert sorted(host.state()) == ["agent.crt", "agent.key"]
    assert host.works() == leaf(chain)
    assert stat.S_IMODE(host.tls.key.stat().st_mode) == 0o600
    with pytest.raises(NothingPendingError, match="ask for a request first"):
        own_certificate.accept(host.tls, chain, NAME, NOW)


def test_the_first_certificate_needs_none_before_it(tmp_path: Path) -> None:
    fresh = Host(TlsFiles(tmp_path / "agent.crt", tmp_path / "agent.key", tmp_path / "ca"))
    own_certificate.recover(fresh.tls)
    own_certificate.accept(fresh.tls, signed(own_certificate.request(fresh.tls, NAME)), NAME, NOW)
    assert own_certificate.name_of(fresh.works()) == NAME


@pytest.mark.covers("sec:renew")
def test_a_second_request_takes_the_first_one_s_place(host: Host) -> None:
    first = signed(own_certificate.request(host.tls, NAME))
    second = signed(own_certificate.request(host.tls, NAME))
    with pytest.raises(OwnCertificateError, match="for another key than the one that was asked for last"):
        own_certificate.accept(host.tls, first, NAME, NOW, renews=True)
    own_certificate.accept(host.tls, second, NAME, NOW, renews=True)
    assert host.works() == leaf(second)


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another name": (lambda request: signed(request, dns=["db02"]), "is not for db01, and for it alone"),
    "a second name": (lambda request: signed(request, dns=[NAME, "db02"]), "is not for db01, and for it alone"),
    "no name": (lambda request: signed(request, dns=[]), "is not for db01, and for it alone"),
    "another key": (lambda request: signed(request, public=new_key().public_key()), "for another key"),
    "for clients": (lambda request: signed(request, usages=(CLIENT,)), "not one for servers alone"),
    "for both": (lambda request: signed(request, usages=(SERVER, CLIENT)), "not one for servers alone"),
    "for nothing": (lambda request: signed(request, usages=()), "not one for servers alone"),
    "ended": (lambda request: signed(request, begins=-2 * DAY, ends=-DAY), "not valid at this host's time"),
    "of the future": (lambda request: signed(request, begins=DAY, ends=2 * DAY), "not valid at this host's time"),
    "another authority": (
        lambda request: signed(request, organisation(NOW, "evil")),
        "is not kept, nor did it come along",
    ),
    "another of the same name": (
        lambda request: signed(request, organisation(NOW, "agents")),
        "is not kept, nor did it",
    ),
    "the leaf alone": (lambda request: pem(leaf(signed(request))), "is not kept, nor did it come along"),
    "junk": (lambda request: b"junk", "is no PEM certificate"),
    "a request": (lambda request: request, "is no PEM certificate"),
    "nothing": (lambda request: b"", "is no PEM certificate"),
}


@pytest.mark.covers("sec:renew")
@pytest.mark.parametrize("kind", BAD)
def test_any_other_certificate_is_refused_and_changes_nothing(host: Host, kind: str) -> None:
    make, why = BAD[kind]
    request = own_certificate.request(host.tls, NAME)
    before = host.state()
    with pytest.raises(OwnCertificateError, match=why):
        own_certificate.accept(host.tls, make(request), NAME, NOW, renews=True)
    assert host.state() == before
    # The key still waits: the right certificate may yet come.
    own_certificate.accept(host.tls, signed(request), NAME, NOW, renews=True)


@pytest.mark.covers("sec:renew")
@pytest.mark.parametrize("kept", [True, False])
def test_what_the_current_certificate_s_authority_did_not_sign_takes_no_place_whatever_it_says(
    host: Host,
    kept: bool,  # noqa: FBT001
) -> None:
    """An authority of the same name, and a leaf that says of itself that it is of the authority's key."""
    own = pem(AGENTS.own.certificate) if kept else b""
    host.tls.certificate.write_bytes(host.tls.certificate.read_bytes() + own)
    evil = organisation(NOW, "agents")
    claimed = x509.AuthorityKeyIdentifier.from_issuer_public_key(AGENTS.own.key.public_key())
    request = own_certificate.request(host.tls, NAME)
    forged = pem(evil.issue(NAME, dns=[NAME], public=public(request), authority=claimed).certificate)
    before = host.state()
    for beside in (b"", pem(evil.own.certificate), pem(AGENTS.own.certificate), pem(AGENTS.issue("x").certificate)):
        with pytest.raises(OwnCertificateError, match="the authority that issued the current"):
            own_certificate.accept(host.tls, forged + beside, NAME, NOW, renews=True)
    assert host.state() == before


@pytest.mark.covers("sec:renew")
def test_the_authority_is_kept_behind_the_certificate_and_nothing_else_that_came_along(host: Host) -> None:
    """From then on the leaf alone is enough."""
    evil = organisation(NOW, "agents")
    whole = signed(own_certificate.request(host.tls, NAME))
    own_certificate.accept(host.tls, whole + pem(evil.own.certificate), NAME, NOW, renews=True)
    assert host.tls.certificate.read_bytes() == whole
    renewed = signed(own_certificate.request(host.tls, NAME))
    alone = pem(leaf(renewed))
    own_certificate.accept(host.tls, alone + pem(evil.own.certificate), NAME, NOW, renews=True)
    assert host.tls.certificate.read_bytes() == renewed


def cut(host: Host, step: int) -> tuple[dict[str, bytes], bytes]:
    """What lies there when an accept() was cut off after so many of its steps; and the certificate that was to come."""
    chain = signed(own_certificate.request(host.tls, NAME))
    key, certificate = host.tls.key, host.tls.certificate
    steps: list[Callable[[], object]] = [
        lambda: certificate.with_name("agent.crt.new").write_bytes(chain[:100]),
        lambda: certificate.with_name("agent.crt.new").write_bytes(chain),
        lambda: key.with_name("agent.key.new").replace(key),
        lambda: certificate.with_name("agent.crt.new").replace(certificate),
    ]
    for act in steps[:step]:
        act()
    return host.state(), chain


@pytest.mark.covers("sec:renew")
@pytest.mark.parametrize(("step", "finished"), [(0, False), (1, False), (2, False), (3, True), (4, True)])
def test_what_was_cut_off_is_finished_or_undone_and_a_pair_that_fits_is_left(
    host: Host,
    step: int,
    finished: bool,  # noqa: FBT001
) -> None:
    old = host.works()
    _, chain = cut(host, step)
    for _ in range(2):
        own_certificate.recover(host.tls)
        assert host.works() == (leaf(chain) if finished else old)
        assert "agent.crt.new" not in host.state()
    if not finished:
        own_certificate.accept(host.tls, chain, NAME, NOW, renews=True)


@pytest.mark.covers("sec:renew")
def test_renames_that_a_power_cut_kept_the_other_way_round_are_finished_too(host: Host) -> None:
    _, chain = cut(host, 2)
    host.tls.certificate.with_name("agent.crt.new").replace(host.tls.certificate)
    with pytest.raises(OwnCertificateError):
        host.works()
    own_certificate.recover(host.tls)
    assert host.works() == leaf(chain)


@pytest.mark.parametrize("kind", ["ed25519", "rsa2048", "p384"])
def test_a_key_that_grpc_does_not_take_is_refused_before_it_is_served(tmp_path: Path, kind: str) -> None:
    files = AGENTS.issue(NAME, dns=[NAME], key=kind).write(tmp_path)
    pair = files.key.read_bytes(), files.certificate.read_bytes()
    if kind == "ed25519":
        with pytest.raises(OwnCertificateError, match="of a kind that gRPC does not take"):
            own_certificate.checked_pair(*pair)
    else:
        assert own_certificate.name_of(own_certificate.checked_pair(*pair)) == NAME


def test_nothing_is_written_through_a_link_that_lies_in_the_way(host: Host, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    host.tls.key.with_name("agent.key.new").symlink_to(elsewhere)
    own_certificate.request(host.tls, NAME)
    assert elsewhere.read_text() == "mine"
    assert not host.tls.key.with_name("agent.key.new").is_symlink()
