"""Where a request may point probes: networks, patterns, ports, and the tricks to get round them."""

import pytest

from agent.allowed import place, refuse_outside
from fleetmedic.v1.snapshot_pb2 import FAILURE_KIND_NOT_LOOKED, Target

ALLOW = ("10.0.0.0/8", "192.168.7.0/24:8443", "*.lab", "api.example:8080", "fd00::/8", "[2001:db8::/32]:443", "::1")


def http(url: str) -> Target:
    return Target(probe="http", service="s", name="n", url=url)


def tls(host: str, port: int = 443) -> Target:
    return Target(probe="tls", service="s", name="n", host=host, port=port)


def reason(target: Target, allow: tuple[str, ...] = ALLOW) -> str:
    """Why a target is refused; empty where it is allowed."""
    allowed, refused = refuse_outside(allow, [target])
    assert len(allowed) + len(refused) == 1
    if allowed:
        return ""
    assert refused[0].failure.kind == FAILURE_KIND_NOT_LOOKED
    return refused[0].failure.detail


@pytest.mark.parametrize(
    "target",
    [
        tls("10.1.2.3"),
        tls("192.168.7.9", 8443),
        tls("db.lab"),
        tls("DB.Lab"),
        tls("api.example", 8080),
        tls("fd00::5"),
        tls("2001:db8::9", 443),
        tls("::1", 9),
        http("http://10.1.2.3/health"),
        http("https://user:pw@db.lab/health?x=1"),
        http("http://api.example:8080/"),
        http("https://[2001:db8::9]/"),
        http("http://[fd00::1]:99/"),
        Target(probe="dns", service="s", name="n", host="db.lab"),
    ],
    ids=str,
)
def test_a_target_inside_is_allowed(target: Target) -> None:
    assert reason(target) == ""


@pytest.mark.parametrize(
    "target",
    [
        tls("11.0.0.1"),
        tls("192.168.7.9", 443),
        tls("lab"),
        tls("db.lab.evil.example"),
        tls("api.example", 80),
        tls("2001:db8::9", 80),
        tls("::2"),
        tls("10.0.0.1.evil.example"),
        tls("012.0.0.1"),
        tls("167772161"),
        tls("::ffff:10.0.0.1"),
        http("http://10.1.2.3@evil.example/"),
        http("http://10.1.2.3:80@evil.example/"),
        http("http://evil.example#@10.1.2.3/"),
        http("http://evil.example?@10.1.2.3/"),
        http("http://db.lab\\@evil.example/"),
        http("http://evil.example/.lab"),
        http("http://api.example/"),
        http("https://[::2]/"),
        Target(probe="dns", service="s", name="n", host="evil.example"),
    ],
    ids=str,
)
def test_a_target_outside_is_refused_with_the_file_that_would_allow_it(target: Target) -> None:
    assert "not in probe_allow" in reason(target)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://db.lab/",
        "gopher://db.lab/",
        "//db.lab/",
        "http://[bad/",
        "http:///x",
        "http://db.lab:99999/",
    ],
)
def test_a_url_that_is_none_has_no_address(url: str) -> None:
    assert reason(http(url)) == "a requested target has no address"


@pytest.mark.parametrize("probe", ["postgres", "redis", "docker", "filesystem", "memory", "discovery", ""])
def test_only_http_tls_and_dns_may_be_requested(probe: str) -> None:
    assert reason(Target(probe=probe, service="s", name="n", host="10.0.0.1")).startswith("a request may not name")


@pytest.mark.parametrize(
    "fields",
    [{"pid": 1}, {"socket": "/run/x"}, {"join_network": True}, {"host": ""}],
    ids=str,
)
def test_what_only_discovery_may_know_is_refused_in_a_request(fields: dict[str, object]) -> None:
    target = tls("10.0.0.1")
    for name, value in fields.items():
        setattr(target, name, value)
    assert reason(target).startswith("a requested target ")


@pytest.mark.parametrize("odd", ["", "a b", "a\nb", "a\x1b[31m", "a\0", "\u202e", "é", "x" * 3000])
def test_characters_that_a_terminal_or_a_header_acts_on_are_refused_in_every_field(odd: str) -> None:
    for target in (tls(f"{odd}.lab"), http(f"http://db.lab/{odd}"), tls("db.lab"), tls("db.lab")):
        before = target.SerializeToString()
        if target.host == "db.lab":
            target.name = odd
        if odd or target.SerializeToString() != before:
            assert reason(target) == "a requested target has characters that no name has"


@pytest.mark.parametrize("probe", ["tls", "dns", "dependency"])
def test_a_url_in_a_target_of_hosts_does_not_lend_its_place_to_the_host(probe: str) -> None:
    target = Target(probe=probe, service="s", name="n", host="169.254.169.254", port=80, url="http://10.1.2.3/")
    # A dependency's URL is what is asked; the others' is not looked at.
    assert bool(reason(target)) == (probe != "dependency")
    target.url, target.host = "http://169.254.169.254/", "10.1.2.3"
    assert bool(reason(target)) == (probe == "dependency")


def test_without_probe_allow_nothing_may_be_requested() -> None:
    assert reason(tls("10.0.0.1"), ()) == "10.0.0.1:443 is not in probe_allow of this host's agent.toml"


@pytest.mark.parametrize(
    ("entry", "name", "port"),
    [
        ("10.0.0.0/8", "10.0.0.0/8", None),
        ("10.0.0.0/8:443", "10.0.0.0/8", 443),
        ("*.lab:80", "*.lab", 80),
        ("::1", "::1", None),
        ("[::1]", "::1", None),
        ("[::1]:8", "::1", 8),
        ("fd00::/8", "fd00::/8", None),
        ("web[0-9].lab", "web[0-9].lab", None),
        ("web[0-9].lab:443", "web[0-9].lab", 443),
    ],
)
def test_an_entry_is_a_place_and_perhaps_a_port(entry: str, name: str, port: int | None) -> None:
    assert place(entry) == (name, port)
