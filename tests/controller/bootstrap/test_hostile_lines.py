"""What a hostile host may say, at random: an ending of that host alone, and never an error that is no host's."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.bootstrap import host_lines, installing, one_host, probing, signing
from controller.bootstrap.bundle import MANIFEST, Bundle, Facts
from controller.bootstrap.installing import Ending, Judge, Order, Outcome
from controller.bootstrap.one_host import Target
from controller.bootstrap.probing import MARK, Seen, Unsuitable
from controller.bootstrap.side_by_side import Sessions, SideBySide
from controller.inventory.loading import load
from controller.ssh import Destination, Done, Remote, Session, SshError, Trust
from controller.trust import requests
from controller.trust.files import TrustError

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SEEN = Seen(Facts("3.11.2", "x86_64", "glibc 2.36"), "python3", (), "")
DEEP = b"[" * 200_000
# A lone surrogate, as JSON and as bytes.
HALVES = (b'"\\ud800"', b'"\xed\xa0\x80"')


class Speaker(Remote):
    """A program that says what is given, whatever it hears."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def write(self, data: bytes, patience: float | None = None) -> None:
        """Hear nothing."""

    def read(self, most: int, patience: float) -> bytes:
        piece, self._data = self._data[:most], self._data[most:]
        return piece

    def read_error(self) -> bytes:
        return b""


class Hostile(Session):
    """A host on which every program says the same."""

    def __init__(self, data: bytes) -> None:
        self.name = "evil"
        self._data = data

    def run(self, words: Sequence[str], *, stdin: bytes = b"", patience: float) -> Done:
        return Done(0, MARK + self._data, b"")

    @contextmanager
    def start(self, words: Sequence[str]) -> Iterator[Remote]:
        yield Speaker(self._data)


class Meeting(Sessions):
    """Sessions that are there without a network."""

    def __init__(self, said: dict[str, bytes]) -> None:
        super().__init__(Trust((), 1.0, own_keys=False))
        self._said = said

    @contextmanager
    def open(self, to: Destination) -> Iterator[Session]:
        yield Hostile(self._said[to.address])


def certificate(now: datetime) -> bytes:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


CA = certificate(NOW)


def sign(request: bytes) -> bytes:
    requests.key(request)
    raise AssertionError("a request at random was none")


JUDGE = Judge(lambda held: signing.will_do(held.encode(), "evil", CA, NOW), sign, lambda: "it is evil")


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Order:
    """Return one of a bundle without wheels."""
    folder: Path = tmp_path_factory.mktemp("bundle")
    (folder / MANIFEST).write_text('{"wheels": {}}')
    return Order(Bundle(folder, "0.1.0-00000000", "", SEEN.facts, ()), "", "", "", {})


texts = st.text() | st.sampled_from(
    [
        "\ud800",
        "\x1b[2J",
        CA.decode(),
        CA.decode()[:-40],
        "-----BEGIN CERTIFICATE REQUEST-----\n",
        "3.11.2",
        "glibc 2.36",
    ]
)
plain: st.SearchStrategy[object] = st.none() | st.booleans() | st.integers() | st.just(10**4299) | st.floats() | texts
values: st.SearchStrategy[object] = st.recursive(
    plain, lambda it: st.lists(it, max_size=3) | st.dictionaries(texts, it, max_size=3), max_leaves=8
)
asked = st.sampled_from(["wheels", "certificate", "signature", "verdict", "nothing"])
spoken = st.fixed_dictionaries(
    {},
    optional={
        "ask": asked | values,
        "has": values,
        "request": values,
        "step": values,
        "done": st.sampled_from(list(Ending)) | values,
        "why": values,
        "undone": values,
        "left": values,
        "repaired": values,
        "changed": values,
    },
)
facts = st.fixed_dictionaries(
    {},
    optional={
        "python": st.just("3.11.2") | values,
        "implementation": st.just("CPython") | values,
        "machine": st.just("x86_64") | values,
        "libc": st.just("glibc 2.36") | values,
        **{name: st.just(True) | values for name in ("root", "sudo", "systemd", "venv", "useradd", "reachable")},
        **{name: values for name in ("free", "installed", "by_hand", "executable")},
    },
)
raw = st.binary(max_size=60) | st.sampled_from(
    [DEEP, b'{"a":' * 200_000, *HALVES, b'{"done": %s}' % HALVES[0], b'{"has": %s}' % HALVES[1], b"9" * 5000, b"1e999"]
)
# Near the limit of what Python follows, whichever frames are above.
nested = st.integers(1, 1100).map(lambda depth: b'{"done": %s7%s}' % (b"[" * depth, b"]" * depth))
rarely = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def lines(drawn: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[bytes]:
    return drawn.map(lambda said: json.dumps(said).encode()) | raw | nested


@pytest.mark.covers("sec:install")
@rarely
@given(said=st.lists(lines(spoken), max_size=6))
def test_no_conversation_with_a_hostile_host_ends_in_another_way_than_a_host_s(order: Order, said: list[bytes]) -> None:
    session = Hostile(b"\n".join(said) + b"\n")
    with suppress(SshError, TrustError):
        ending, text = installing.install(session, SEEN, order, JUDGE, lambda *_: None)
        assert isinstance(ending, Ending)
        text.encode()
    with suppress(SshError):
        ending, text = installing.uninstall(session, SEEN, purge=False)
        assert isinstance(ending, Ending)
        text.encode()


@pytest.mark.covers("sec:install")
@rarely
@given(lines(facts), st.booleans())
def test_whatever_kind_a_host_says_it_is_it_is_seen_or_unsuitable(said: bytes, leaving: bool) -> None:
    host = load(["evil,"]).host("evil")
    try:
        seen = probing.look(Hostile(said), host, leaving=leaving)
    except Unsuitable as error:
        str(error).encode()
    else:
        (seen.facts.command() + seen.installed).encode()
        assert seen.facts.glibc


@pytest.mark.covers("sec:install")
@pytest.mark.parametrize("said", [DEEP, b'{"installed": "\\ud800"}', b'{"python": [[3]]}', b'{"a":' * 200_000])
def test_a_line_that_is_none_of_ours_is_no_line(said: bytes) -> None:
    assert host_lines.said(said) is None


@pytest.mark.covers("sec:install", "sec:uninstall")
@pytest.mark.parametrize("said", [DEEP, b'{"python": "\\ud800"}'])
def test_one_evil_host_keeps_no_other_from_its_ending(said: bytes) -> None:
    hosts = load(["first,evil,last"])
    targets = {name: Target(hosts.host(name), Destination(name, name)) for name in ("first", "evil", "last")}
    meeting = Meeting({"first": b"{}\n", "evil": said, "last": b"{}\n"})

    def look(it: Target) -> Outcome | None:
        return one_host.look(it, meeting, lambda *_: None).outcome

    def uninstall(it: Target) -> Outcome | None:
        return one_host.uninstall(it, meeting, purge=False)

    for work in (look, uninstall):
        told: list[Outcome | None] = []
        found = SideBySide(work, 2, meeting.leave).run(targets, told.append, lambda *_: None)
        assert [outcome.ending for outcome in found.values() if outcome is not None] == [Ending.REFUSED] * 3
        evil = found["evil"]
        assert evil is not None
        assert evil.said == "its Python said something else than it was asked"
        assert len(told) == 3
