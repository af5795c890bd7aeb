"""Logging in at a real sshd: what is given, what is refused, and that no unknown host is believed."""

import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from controller import ssh
from controller.trust import login, revocation
from controller.trust.away import BastionAway
from controller.trust.files import TrustError
from tests.lab import agents, sshd
from tests.lab.agents import Command, Desk
from tests.lab.fixtures import need
from tests.lab.sshd import Sshd
from tests.lab.waiting import free_port

ROOT = Path(__file__).parents[3]
OWN = Path(".config/fleetmedic")
FILES = ["agent-ca.crt", "denylist.pem", "operator.crt", "operator.key"]


@dataclass(frozen=True)
class Site:
    """A bastion with the authorities of lab, and the home of alice, who is a responder there."""

    authority: Desk
    server: Sshd
    home: Desk
    line: str

    @property
    def own(self) -> Path:
        return self.home.folder / OWN

    def login(self, *words: str | Path, bastion: str = "") -> Command:
        where = bastion or f"root@{self.server.address}:{self.server.port}"
        return self.home.run("login", *words, environment={**PLAIN, "FLEETMEDIC_BASTION": where})

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.own / "operator.crt").read_bytes())


# The lab's desks name their files; a newcomer's does not.
PLAIN = {"FLEETMEDIC_CERTIFICATE": "", "FLEETMEDIC_KEY": "", "FLEETMEDIC_CA": ""}


@pytest.fixture(scope="module")
def server(lab: Path) -> Iterator[Sshd]:
    """Run an sshd, which lets nobody in yet."""
    need("sshd", root=True)
    with sshd.run(lab / "bastion-sshd", port=free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def authority(lab: Path) -> Desk:
    """Make the authorities of lab, at the bastion."""
    return agents.desk(lab / "bastion")


@pytest.fixture
def site(server: Sshd, authority: Desk, folder: Path) -> Site:
    """Let alice log in as responder, from an empty home with a known bastion."""
    home = Desk(folder / "alice")
    sshd.key(home.folder / ".ssh" / "id_ed25519")
    (home.folder / ".ssh" / "known_hosts").write_text(server.known_hosts)
    public = home.folder / ".ssh" / "id_ed25519.pub"
    made = authority.run("pki", "authorize", "alice", "--role", "responder", "--key", public, "--dir", authority.pki)
    assert made.code == 0, made.err
    server.authorize(made.out)
    return Site(authority, server, home, made.out)


def uri(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (found,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return found


def kept(site: Site) -> list[str]:
    return sorted(path.name for path in site.own.iterdir()) if site.own.exists() else []


def refused(done: Command, said: str, code: int = 77) -> None:
    assert (done.code, done.out) == (code, ""), done
    assert said in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.covers("sec:login", "sec:3.2")
def test_a_login_gives_the_role_of_the_ssh_key_for_eight_hours_and_says_so(site: Site) -> None:
    before = datetime.fromtimestamp(time.time(), UTC)
    done = site.login()
    assert (done.code, done.err) == (0, ""), done.err
    made = site.certificate()
    assert uri(made) == "spiffe://lab/role/responder/user/alice"
    assert (
        timedelta(hours=8) - timedelta(minutes=2) < made.not_valid_after_utc - before <= timedelta(hours=8, minutes=2)
    )
    assert done.out == (
        f"alice is responder until {made.not_valid_after_utc:%Y-%m-%d %H:%MZ} ({done.out.partition('(')[2][:5]}): "
        f"{site.own / 'operator.crt'}\nNothing renews it: log in again then.\n"
    )
    assert kept(site) == FILES
    modes = [stat.S_IMODE((site.own / name).stat().st_mode) for name in FILES]
    assert modes == [0o644, 0o644, 0o644, 0o600]
    assert stat.S_IMODE(site.own.stat().st_mode) == 0o700
    assert (site.own / "agent-ca.crt").read_bytes() == (site.authority.pki / "agent-ca.crt").read_bytes()
    told = site.authority.run("pki", "show", "alice", "--dir", site.authority.pki).out
    assert "operator alice (responder)  VALID" in told


@pytest.mark.covers("sec:login")
def test_after_a_login_commands_need_no_option(site: Site) -> None:
    assert site.login().code == 0
    with agents.run(site.authority, "web01", port=free_port()) as running:
        file = site.home.folder / "fleet.yml"
        place = f"{{fleetmedic_address: {running.address}, fleetmedic_port: {running.port}}}"
        file.write_text(f"all: {{hosts: {{web01: {place}}}}}\n")
        done = site.home.run("describe", "-i", file, environment=PLAIN)
    assert done.code == 0, done.out + done.err
    assert "web01  agent " in done.out


@pytest.mark.covers("sec:login")
def test_a_login_may_ask_for_less_and_every_login_has_a_key_of_its_own(site: Site) -> None:
    assert site.login("--role", "observer").code == 0
    first, key = site.certificate(), (site.own / "operator.key").read_bytes()
    assert uri(first) == "spiffe://lab/role/observer/user/alice"
    assert site.login("--role", "responder").code == 0
    assert uri(site.certificate()) == "spiffe://lab/role/responder/user/alice"
    assert site.certificate().public_key() != first.public_key()
    assert (site.own / "operator.key").read_bytes() != key
    assert kept(site) == FILES


@pytest.mark.covers("sec:login")
def test_a_login_for_more_than_the_bastion_has_is_refused_and_what_was_there_stays(site: Site) -> None:
    refused(site.login("--role", "admin"), "alice may be responder here, and not admin")
    assert kept(site) == []
    assert site.login().code == 0
    before = {name: (site.own / name).read_bytes() for name in FILES}
    refused(site.login("--role", "admin"), "alice may be responder here, and not admin")
    assert {name: (site.own / name).read_bytes() for name in FILES} == before


@pytest.mark.covers("sec:login")
def test_an_ssh_key_that_the_bastion_does_not_know_gets_nothing(site: Site) -> None:
    site.server.authorize("")
    refused(site.login(), "takes none of our keys")
    sshd.key(site.home.folder / "other")
    site.server.authorize(site.line)
    refused(site.login("--private-key", site.home.folder / "other"), "takes none of our keys")
    assert kept(site) == []


@pytest.mark.covers("sec:login", "sec:A11")
def test_a_bastion_whose_key_is_unknown_changed_or_of_another_kind_is_never_spoken_to(site: Site) -> None:
    known = site.home.folder / ".ssh" / "known_hosts"
    begin = len(site.server.log.read_text())
    changed, other = (sshd.key(site.home.folder / kind, kind) for kind in ("ed25519", "ecdsa"))
    for text, said in (
        ("", "is in no "),
        (f"elsewhere {' '.join(site.server.host_keys)}\n", "is in no "),
        (f"{site.server.place} {changed}\n", "is not the one in"),
        (f"{site.server.place} {other}\n", "known_hosts"),
    ):
        known.write_text(text)
        refused(site.login(), said)
        assert known.read_text() == text
    said = site.server.log.read_text()[begin:]
    assert "Connection from" in said
    assert "Accepted" not in said
    assert "Starting session" not in said
    assert kept(site) == []


def test_a_bastion_that_is_not_there_is_4_with_the_cause(site: Site) -> None:
    refused(site.login(bastion=f"root@127.0.0.1:{free_port()}"), "nothing listens at 127.0.0.1 port", 4)
    refused(site.login(bastion="root@nowhere.invalid"), "the name nowhere.invalid does not resolve", 4)


def test_without_a_bastion_or_with_a_wrong_one_the_mend_is_named(site: Site) -> None:
    refused(site.home.run("login", environment=PLAIN), "bastion: not set: give --bastion USER@HOST", 65)
    refused(site.login("--bastion", "a b"), "--bastion: 'a b' is no bastion: write it as USER@HOST")


def test_a_login_that_other_settings_hide_says_so(site: Site) -> None:
    where = f"root@{site.server.address}:{site.server.port}"
    done = site.home.run("login", "--bastion", where)
    assert done.code == 0
    assert "other settings say where these are: certificate (environment FLEETMEDIC_CERTIFICATE)" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.fixture
def odd(site: Site) -> Iterator[Site]:
    """Let a test have an odd bastion, whose answers come from tests/lab/odd_bastion.py."""
    yield site
    site.server.authorize(site.line)


def ask(site: Site, oddity: str, role: str | None = None) -> login.Granted:
    """Log in at a bastion with one oddity, in this process."""
    program = f"cd {ROOT} && {sys.executable} -m tests.lab.odd_bastion {oddity} {site.home.folder / 'odd'}"
    key = " ".join(site.line.rsplit(maxsplit=3)[1:3])
    site.server.authorize(f'restrict,command="{program}" {key}')
    at = ssh.Destination("bastion", site.server.address, site.server.port, "root", _key(site))
    trust = ssh.Trust((site.home.folder / ".ssh" / "known_hosts",), own_keys=False)
    return login.login(at, trust, site.own, role, datetime.fromtimestamp(time.time(), UTC))


def _key(site: Site) -> Path:
    return site.home.folder / ".ssh" / "id_ed25519"


@pytest.mark.covers("sec:login", "sec:B7")
@pytest.mark.parametrize(
    ("oddity", "said"),
    [
        ("other-key", "is not for the key made here"),
        ("more", "gave the role admin, and responder was asked for"),
        ("agent", "is no operator's"),
        ("past", "is this machine's clock right"),
        ("unsigned", "is not signed by its operators' authority"),
        ("others-agents", "authorities don't belong together"),
        ("one-for-both", "authorities don't belong together"),
        ("others-denylist", "is not signed by the operators' authority"),
        ("denied", "is on its own denylist"),
        ("junk", "is no PEM certificate"),
        ("endless", "wrote more than it may"),
        ("no-such-program", "`fleetmedic pki authorize` there prints the line it needs"),
    ],
)
def test_a_bastion_that_gives_what_it_should_not_leaves_nothing(odd: Site, oddity: str, said: str) -> None:
    with pytest.raises((TrustError, BastionAway), match=said):
        ask(odd, oddity, "responder")
    assert kept(odd) == []


@pytest.mark.covers("sec:login", "sec:B7")
def test_a_bastion_that_hangs_costs_bounded_time(odd: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "PATIENCE", 2.0)
    began = time.monotonic()
    with pytest.raises(BastionAway, match="did not end in 2s"):
        ask(odd, "silent")
    assert time.monotonic() - began < 15
    assert kept(odd) == []


@pytest.mark.covers("sec:login", "sec:B5")
def test_what_a_bastion_says_reaches_the_terminal_harmless(odd: Site) -> None:
    with pytest.raises(TrustError):
        ask(odd, "escapes")
    done = odd.login()
    assert done.code == 77
    assert "\x1b" not in done.err
    assert "\\x1b[31mno" in done.err


@pytest.mark.covers("sec:login")
def test_a_bastion_that_is_somebody_elses_now_cannot_make_us_believe_other_agents(odd: Site) -> None:
    assert odd.login().code == 0
    before = {name: (odd.own / name).read_bytes() for name in FILES}
    with pytest.raises(TrustError, match="the bastion now gives another authority for agents"):
        ask(odd, "well")
    assert {name: (odd.own / name).read_bytes() for name in FILES} == before
    (odd.own / "agent-ca.crt").unlink()
    assert ask(odd, "well").role == "responder"


@pytest.mark.covers("sec:login")
def test_the_denylist_comes_with_a_login_and_never_goes_back(site: Site) -> None:
    pki = site.authority.pki
    assert site.login().code == 0
    assert site.authority.run("pki", "revoke", "alice", "--reason", "lost", "--dir", pki).code == 0
    newer = (pki / "denylist.pem").read_bytes()
    assert site.login().code == 0
    assert (site.own / "denylist.pem").read_bytes() == newer
    number = revocation.number(x509.load_pem_x509_crl(newer))
    older = (pki / "denylist.pem").read_bytes()
    assert site.authority.run("pki", "revoke", "alice", "--reason", "lost", "--dir", pki).code == 0
    assert site.login().code == 0
    (pki / "denylist.pem").write_bytes(older)
    assert site.login().code == 0
    assert revocation.number(x509.load_pem_x509_crl((site.own / "denylist.pem").read_bytes())) > number
