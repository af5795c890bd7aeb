"""SSH against a real sshd: who is not known is never logged in to, and what runs there is told as it is."""

import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import paramiko
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import ssh
from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.variables import Variable
from controller.ssh import Destination, SshError, Trust
from tests.lab import proxy, sshd
from tests.lab.fixtures import need
from tests.lab.sshd import Sshd
from tests.lab.waiting import free_port, until

PATIENCE = 20.0
# What sshd writes once somebody has so much as named a user.
TRIED = ("user root", "publickey", "Accepted", "Failed")


@dataclass(frozen=True)
class Lab:
    """A host, a gateway, and the key that both let in."""

    host: Sshd
    gateway: Sshd
    key: Path
    folder: Path

    def to(self, *, by_gateway: bool = False) -> Destination:
        gateway = Destination("gate", self.gateway.address, self.gateway.port, "root", self.key)
        place = Destination("db01", self.host.address, self.host.port, "root", self.key)
        return replace(place, gateway=gateway) if by_gateway else place

    def trust(self, *lines: str) -> Trust:
        file = self.folder / f"known-{hashlib.sha256(repr(lines).encode()).hexdigest()[:8]}"
        file.write_text("".join(f"{line.rstrip()}\n" for line in lines))
        return Trust((file,), PATIENCE, own_keys=False)

    @property
    def all_known(self) -> Trust:
        return self.trust(self.host.known_hosts, self.gateway.known_hosts)


@pytest.fixture(scope="module")
def place(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("sshd", root=True)
    folder = lab / tmp_path_factory.mktemp("ssh").name
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def servers(place: Path) -> Iterator[Lab]:
    login = sshd.key(place / "login")
    with (
        sshd.run(place / "host", port=free_port(), authorized=[login]) as host,
        sshd.run(place / "gateway", port=free_port(), authorized=[login]) as gateway,
    ):
        yield Lab(host, gateway, place / "login", place)


def refused(to: Destination, trust: Trust, servers: Sequence[Sshd]) -> SshError:
    """Log in, which must fail before anybody is named at any of the servers."""
    before = [len(server.log.read_text()) for server in servers]
    with pytest.raises(SshError) as caught, ssh.connected(to, trust):
        pass
    for server, length in zip(servers, before, strict=True):
        told = _until_it_ends(server, length)
        assert not any(word in told for word in TRIED), told
    return caught.value


def _until_it_ends(server: Sshd, begin: int) -> str:
    """What sshd has written of the connection, which ended before anybody was logged in."""

    def told() -> str:
        return server.log.read_text()[begin:]

    until("sshd has seen it end", lambda: "[preauth]" in told())
    return told()


def other(kind: str, place: Path) -> str:
    """Another key of a kind, as known_hosts has it."""
    return " ".join(sshd.key(place / f"other-{kind}", kind).split()[:2])


@pytest.mark.covers("sec:A11")
@pytest.mark.parametrize("by_gateway", [False, True])
def test_a_host_whose_key_is_known_is_logged_in_to(servers: Lab, by_gateway: bool) -> None:
    with ssh.connected(servers.to(by_gateway=by_gateway), servers.all_known) as session:
        assert session.run(["echo", "here"], patience=PATIENCE).out == b"here\n"
    assert "Accepted publickey for root" in servers.host.log.read_text()


@pytest.mark.covers("sec:A11")
def test_without_a_key_of_its_own_a_host_is_logged_in_to_with_the_users(
    servers: Lab, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = place / "own"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/id_ed25519").write_bytes(servers.key.read_bytes())
    monkeypatch.setenv("HOME", str(home))
    to = replace(servers.to(), key=None)
    with ssh.connected(to, replace(servers.all_known, own_keys=True)) as session:
        assert session.run(["true"], patience=PATIENCE).code == 0
    with pytest.raises(SshError, match="takes none of our keys"), ssh.connected(to, servers.all_known):
        pass


@pytest.mark.covers("sec:A11")
@pytest.mark.parametrize("stranger", ["host", "gateway", "host behind the gateway"])
@pytest.mark.parametrize("how", ["changed", "unknown", "of another kind", "revoked"])
def test_nobody_is_named_at_a_host_or_gateway_whose_key_is_not_the_known_one(
    servers: Lab, stranger: str, how: str
) -> None:
    server = servers.gateway if stranger == "gateway" else servers.host
    lines = [it.known_hosts for it in (servers.host, servers.gateway) if it is not server]
    if how == "changed":
        lines.append(f"{server.place} {other('ed25519', servers.folder)}")
    elif how == "of another kind":
        lines.append(f"{server.place} {other('ecdsa', servers.folder)}")
    elif how == "revoked":
        lines += [server.known_hosts, f"@revoked * {server.host_keys[0]}"]
    error = refused(servers.to(by_gateway=stranger != "host"), servers.trust(*lines), [server])
    assert error.kind == "host-key"
    assert server.place in str(error)
    assert str(error).startswith("gate: " if stranger == "gateway" else "db01: ")


@pytest.mark.covers("sec:A11")
def test_behind_a_strange_gateway_the_host_is_not_even_dialled(servers: Lab) -> None:
    before = servers.host.log.read_text()
    error = refused(servers.to(by_gateway=True), servers.trust(servers.host.known_hosts), [servers.gateway])
    assert error.kind == "host-key"
    assert servers.host.log.read_text() == before


@pytest.mark.covers("sec:A11")
def test_an_impostors_connection_does_not_stay_open(servers: Lab) -> None:
    for _ in range(3):
        refused(servers.to(), servers.trust(), [servers.host])
    until("its threads end", lambda: not any(isinstance(it, paramiko.Transport) for it in threading.enumerate()))


@pytest.mark.covers("sec:A11")
def test_the_key_of_a_host_at_port_22_is_not_that_of_another_port(servers: Lab) -> None:
    bare = f"{servers.host.address} {servers.host.host_keys[0]}"
    assert refused(servers.to(), servers.trust(bare), [servers.host]).kind == "host-key"


@pytest.mark.covers("sec:A11")
@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_each_kind_of_host_key_is_known_again_though_the_host_has_others(servers: Lab, place: Path, kind: str) -> None:
    login = Path(f"{servers.key}.pub").read_text()
    kinds = ("ed25519", "ecdsa", "rsa")
    with sshd.run(place / f"all-{kind}", port=free_port(), authorized=[login], kinds=kinds) as host:
        line = f"{host.place} {host.host_keys[kinds.index(kind)]}"
        to = replace(servers.to(), port=host.port)
        with ssh.connected(to, servers.trust(line)) as session:
            assert session.run(["true"], patience=PATIENCE).code == 0
        wrong = f"{host.place} {other(kind, place)}"
        assert refused(to, servers.trust(wrong), [host]).kind == "host-key"


@pytest.mark.covers("sec:A11")
def test_hashed_names_odd_lines_and_comments_are_read_as_ssh_reads_them(servers: Lab, place: Path) -> None:
    file = place / "hashed"
    file.write_text(servers.host.known_hosts)
    subprocess.run(["ssh-keygen", "-H", "-f", file], check=True, capture_output=True)
    odd = ["# a comment", "", "half a", "db01 ssh-ed25519 not-base64!", "@cert-authority *.lab ssh-ed25519 AAAA", "\tx"]
    trust = servers.trust(*odd, f"  {file.read_text().strip()}   and a comment")
    with ssh.connected(servers.to(), trust) as session:
        assert session.run(["true"], patience=PATIENCE).code == 0


@pytest.mark.covers("sec:A11")
def test_nothing_of_a_users_ssh_or_fabric_configuration_is_heeded(
    servers: Lab, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = place / "home"
    (home / ".ssh").mkdir(parents=True)
    mark = home / "ran"
    (home / ".ssh/config").write_text(
        f"Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  ProxyCommand touch {mark}\n"
    )
    (home / ".fabric.yaml").write_text("gateway: nobody@127.0.0.1:1\nuser: nobody\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    assert refused(servers.to(), servers.trust(), [servers.host]).kind == "host-key"
    with ssh.connected(servers.to(), servers.all_known) as session:
        assert session.run(["id", "-un"], patience=PATIENCE).out == b"root\n"
    assert not mark.exists()


@pytest.mark.covers("sec:A11")
def test_neither_groups_nor_lenient_policies_of_the_library_are_used() -> None:
    text = Path(ssh.__file__).read_text()
    for word in ("Group", "AutoAddPolicy", "WarningPolicy", "load_ssh_config"):
        assert word not in text


ODD = (
    "",
    " ",
    "a b",
    "$(id)",
    "`id`",
    "a;b",
    "a'b",
    'a"b',
    "a\\b",
    "*",
    "~root",
    "$HOME",
    "a\nb",
    "-n",
    "!x",
    "\u00e9\u4e2d",
    "{a,b}",
    "#c",
    "|",
    "&",
    ">x",
)


@pytest.mark.covers("sec:A11")
def test_every_word_arrives_as_it_is(servers: Lab) -> None:
    with ssh.connected(servers.to(), servers.all_known) as session:
        done = session.run(["python3", "-c", "import sys; print(ascii(sys.argv[1:]))", *ODD], patience=PATIENCE)
        assert done.out.decode().strip() == ascii(list(ODD))


@pytest.mark.covers("sec:A11")
@settings(max_examples=25, deadline=None, database=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30), max_size=5))
def test_any_words_arrive_as_they_are(servers: Lab, words: list[str]) -> None:
    with ssh.connected(servers.to(), servers.all_known) as session:
        done = session.run(
            ["/usr/bin/python3", "-c", "import sys; print(ascii(sys.argv[1:]))", *words], patience=PATIENCE
        )
        assert done.out.decode().strip() == ascii(words)


@pytest.mark.covers("sec:A11")
def test_a_command_ends_with_its_own_code_and_both_its_streams(servers: Lab) -> None:
    with ssh.connected(servers.to(), servers.all_known) as session:
        done = session.run(["sh", "-c", "echo out; echo first >&2; echo err >&2; exit 7"], patience=PATIENCE)
        assert (done.code, done.out, done.said) == (7, b"out\n", "err")
        assert session.run(["no-such-program"], patience=PATIENCE).code == 127
        assert session.run(["sh", "-c", "kill -9 $$"], patience=PATIENCE).code == -1


@pytest.mark.covers("sec:A11")
def test_megabytes_go_both_ways_at_once(servers: Lab) -> None:
    sent = os.urandom(3 << 20)
    with ssh.connected(servers.to(), servers.all_known) as session:
        for _ in range(3):
            assert session.run(["cat"], stdin=sent, patience=PATIENCE).out == sent
        # One that reads nothing of it, and one that closes early.
        assert session.run(["true"], stdin=sent, patience=PATIENCE).code == 0
        assert session.run(["head", "-c", "5"], stdin=sent, patience=PATIENCE).out == sent[:5]


@pytest.mark.covers("sec:A11")
def test_a_command_that_says_too_much_or_takes_too_long_is_left(servers: Lab) -> None:
    with ssh.connected(servers.to(), servers.all_known) as session:
        with pytest.raises(SshError, match="wrote more than it may") as caught:
            session.run(["cat", "/dev/zero"], patience=PATIENCE)
        assert caught.value.kind == "too-much"
        with pytest.raises(SshError, match="did not end in 1s") as caught:
            session.run(["sleep", "60"], patience=1.0)
        assert caught.value.kind == "late"
        assert session.run(["echo", "still there"], patience=PATIENCE).code == 0


@pytest.mark.covers("sec:A11")
def test_a_program_is_spoken_with_while_it_runs(servers: Lab) -> None:
    with ssh.connected(servers.to(), servers.all_known) as session, session.start(["cat"]) as remote:
        for word in (b"one", b"two"):
            remote.write(word, PATIENCE)
            assert remote.read(100, PATIENCE) == word
        with pytest.raises(SshError, match="silent for 0.5s"):
            remote.read(100, 0.5)
        remote.end_input()
        assert remote.read(100, PATIENCE) == b""
        assert remote.ended(PATIENCE) == 0


@pytest.mark.covers("sec:A11")
def test_a_cut_connection_is_told_as_one_and_never_as_an_end(servers: Lab) -> None:
    with proxy.run(servers.host.address, servers.host.port) as between:
        known = f"[127.0.0.1]:{between.port} {servers.host.host_keys[0]}"
        to = replace(servers.to(), port=between.port)
        for cut in ("run", "read", "write", "start"):
            between.set("pass")
            with ssh.connected(to, servers.trust(known)) as session:
                if cut == "run":
                    threading.Timer(0.5, between.set, ["cut"]).start()
                    with pytest.raises(SshError) as caught:
                        session.run(["sh", "-c", "echo half; sleep 30"], patience=PATIENCE)
                elif cut == "read":
                    with session.start(["sleep", "30"]) as remote:
                        threading.Timer(0.5, between.set, ["cut"]).start()
                        with pytest.raises(SshError) as caught:
                            remote.read(10, PATIENCE)
                elif cut == "write":
                    with session.start(["sleep", "30"]) as remote:
                        between.set("cut")
                        with pytest.raises(SshError) as caught:
                            remote.write(bytes(8 << 20), PATIENCE)
                        remote.end_input()
                else:
                    between.set("cut")
                    with pytest.raises(SshError) as caught:
                        session.run(["true"], patience=PATIENCE)
                assert caught.value.kind == "broken"


@pytest.mark.covers("sec:A11")
def test_a_host_that_freezes_is_left_in_time(servers: Lab) -> None:
    with proxy.run(servers.host.address, servers.host.port) as between:
        known = f"[127.0.0.1]:{between.port} {servers.host.host_keys[0]}"
        to = replace(servers.to(), port=between.port)
        with ssh.connected(to, replace(servers.trust(known), patience=2.0)) as session:
            between.set("silent")
            began = time.monotonic()
            with pytest.raises(SshError) as caught:
                session.run(["true"], patience=PATIENCE)
            assert caught.value.kind in ("late", "broken")
            assert time.monotonic() - began < 10


@pytest.mark.covers("sec:A11")
def test_what_does_not_come_about_says_why(servers: Lab, place: Path) -> None:
    trust = replace(servers.all_known, patience=2.0)

    def kind(to: Destination) -> tuple[str, str]:
        with pytest.raises(SshError) as caught, ssh.connected(to, trust):
            pass
        return caught.value.kind, caught.value.why

    to = servers.to()
    assert kind(replace(to, port=free_port()))[0] == "refused"
    assert kind(replace(to, address="no-such-host.invalid"))[0] == "name"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert kind(replace(to, port=silent.getsockname()[1]))[0] == "unreachable"
    sshd.key(place / "stranger")
    assert kind(replace(to, key=place / "stranger")) == (
        "login",
        f"root@{servers.host.place} takes none of our keys: see ansible_user and --private-key",
    )
    assert kind(replace(to, key=place / "nowhere"))[0] == "login"
    (place / "junk").write_text("not a key\n")
    assert kind(replace(to, key=place / "junk"))[0] == "login"
    subprocess.run(["ssh-keygen", "-q", "-N", "secret", "-f", place / "locked"], check=True)
    assert kind(replace(to, key=place / "locked")) == (
        "login",
        f"{place / 'locked'}: has a passphrase: add it to ssh-agent",
    )
    code, why = kind(replace(servers.to(by_gateway=True), port=free_port()))
    assert code == "unreachable"
    assert why.startswith("its gateway gate can't reach 127.0.0.1 port ")


@pytest.mark.covers("sec:A11")
def test_an_unreadable_list_of_host_keys_makes_nobody_known(servers: Lab, place: Path) -> None:
    for file in (place, place / "nowhere"):
        with (
            pytest.raises(SshError) as caught,
            ssh.connected(servers.to(), Trust((file,), PATIENCE, own_keys=False)),
        ):
            pass
        assert caught.value.kind == "host-key"


def host(name: str, **variables: object) -> Host:
    return Host(name, {key: Variable(value, Origin("hosts", 1)) for key, value in variables.items()}, ())


@pytest.mark.covers("sec:A11")
def test_gateways_are_read_as_ssh_has_them() -> None:
    known = {
        "gate": host("gate", ansible_host="10.0.0.1", ansible_port=2200, ansible_user="jump"),
        "deep": host("deep", ansible_ssh_common_args="-J gate"),
    }

    def way(args: str) -> list[tuple[str, int, str]]:
        made = ssh.destination(host("db01", ansible_ssh_common_args=args), known, "ops")
        hops = []
        while (gateway := made.gateway) is not None:
            hops.append((gateway.address, gateway.port, gateway.user))
            made = gateway
        return hops

    assert way("-J gate") == [("10.0.0.1", 2200, "jump")]
    assert way("-o ProxyJump=deep") == [("deep", 22, "ops"), ("10.0.0.1", 2200, "jump")]
    assert way("-J me@bastion.example.net:2222") == [("bastion.example.net", 2222, "me")]
    assert way("-J [2001:db8::1]:2222") == [("2001:db8::1", 2222, "ops")]
    assert way("-J 2001:db8::1") == [("2001:db8::1", 22, "ops")]
    # The first is dialled first.
    assert way("-J one,me@two:22") == [("two", 22, "me"), ("one", 22, "ops")]
    for wrong in ("@bastion", "bastion:0", "bastion:99999", "bastion:x", "a;b", "one,,two"):
        with pytest.raises(InventoryError, match="its gateway .* is none"):
            way(f"-J {wrong}")


@pytest.mark.covers("sec:A11")
def test_gateways_in_a_ring_are_refused() -> None:
    known = {
        "a": host("a", ansible_ssh_common_args="-J b"),
        "b": host("b", ansible_ssh_common_args="-J a"),
    }
    with pytest.raises(InventoryError, match="lead in a ring"):
        ssh.destination(known["a"], known, "root")
