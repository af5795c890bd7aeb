"""agent.toml: a good file whole, and every bad one with file, line, field and mend in one line."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent import config, registry
from agent.config import Config, default_folders, load
from agent.toml_reader import ConfigError
from tests.lab import authority as certificates

RULES = registry.load()
PROGRAM = Path(sys.executable).parent / "fleetmedic-agent"

GOOD = """\
name = "db01"
listen = "[::1]:7443"
state = "/s"
run = "/r"
front_user = "nobody"
discover = false
mounts = ["/data"]
probe_allow = ["10.0.0.0/8:443", "*.lab", "[fd00::/8]:8443"]

[sampler]
seconds = 5

[tls]
certificate = "/c"
key = "/k"
client_ca = "/a"

[docker]
socket = "/d"
expected = ["web"]

[[postgres]]
service = "shop-db"
socket = "/run/postgresql"
password_file = "SECRET"

[[postgres]]
host = "10.0.0.9"
port = 5433

[[redis]]
host = "127.0.0.1"

[[http]]
url = "https://shop.lab/health?deep=1"

[[tls_endpoint]]
service = "shop"
address = "[::1]:443"

[[dns]]
name = "db.lab"

[limits.HOST-MEM]
warn_free_share = 0.2

[roles]
alice = "observer"
"bob.b" = "responder"
"""


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "agent.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(0o644)
    return file


def read(file: Path) -> Config:
    return load(file, RULES, {"HOME": "/home/u"})


def refusal(folder: Path, text: str | bytes) -> str:
    file = written(folder, text)
    with pytest.raises(ConfigError) as caught:
        read(file)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{file}:")
    return message.removeprefix(str(file))


def test_a_good_file_is_read_whole_with_the_line_of_each_thing(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\nmore\n")
    secret.chmod(0o600)
    made = read(written(tmp_path, GOOD.replace("SECRET", str(secret))))
    assert (made.name, made.listen, made.front_user, made.discover) == ("db01", "[::1]:7443", "nobody", False)
    assert (made.state, made.run, made.sample_seconds) == (Path("/s"), Path("/r"), 5.0)
    assert made.tls == config.TlsFiles(Path("/c"), Path("/k"), Path("/a"))
    first, second = made.postgres
    assert (first.service, first.socket, first.origin) == ("shop-db", "/run/postgresql", "agent.toml:22")
    assert (second.host, second.port, second.user, second.origin) == ("10.0.0.9", 5433, "fleetmedic", "agent.toml:27")
    assert (made.redis[0].port, made.redis[0].user) == (6379, "")
    assert made.http[0].value == "https://shop.lab/health?deep=1"
    assert (made.tls_endpoints[0].service, made.tls_endpoints[0].host, made.tls_endpoints[0].port) == (
        "shop",
        "::1",
        443,
    )
    assert made.limits == {"HOST-MEM": {"warn_free_share": (0.2, "agent.toml:45")}}
    assert made.roles == {"alice": "observer", "bob.b": "responder"}
    assert made.secrets() == ("hunter2",)


def test_the_front_takes_a_file_with_limits_and_secrets_and_reads_neither(tmp_path: Path) -> None:
    made = load(written(tmp_path, GOOD.replace("SECRET", "/not/there")), None, {"HOME": "/home/u"})
    assert (made.name, made.limits) == ("db01", {})


def test_an_empty_file_gives_every_default(tmp_path: Path) -> None:
    made = read(written(tmp_path, ""))
    state, run = default_folders({"HOME": "/home/u"}, os.geteuid())
    assert (made.listen, made.discover, made.sample_seconds) == ("0.0.0.0:7443", True, 120.0)
    assert (made.state, made.run, made.tls, made.postgres) == (state, run, None, ())


def test_folders_are_the_system_s_for_root_and_the_user_s_own_otherwise() -> None:
    assert default_folders({}, 0) == (Path("/var/lib/fleetmedic/agent"), Path("/run/fleetmedic"))
    assert default_folders({"HOME": "/h"}, 1000) == (
        Path("/h/.local/state/fleetmedic/agent"),
        Path("/h/.local/state/fleetmedic/agent/run"),
    )
    given = {"HOME": "/h", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"}
    assert default_folders(given, 1000) == (Path("/s/fleetmedic/agent"), Path("/r/fleetmedic"))


BAD = [
    ("[roles]\nalice = 'root'", ":2: roles.alice: 'root' is no role: one of observer, responder, admin"),
    ("[roles]\nAlice = 'admin'", ":2: roles.Alice: is no user name: small letters, digits, dots, hyphens"),
    ("[roles]\nalice = 1", ":2: roles.alice: is a number, and must be text in quotes"),
    ("lisen = 'x'", ":1: lisen: is not known; did you mean 'listen'?"),
    (
        "\n\nzzz = 1",
        ":3: zzz: is not known; known here: actions, audit, dependency, discover, dns, docker, ",
    ),
    ("[actions]\ncontainers = ['a b']", ":2: actions.containers: 'a b' is no name or pattern: "),
    ("[actions]\ncontainers = ['']", ":2: actions.containers: '' is no name or pattern: "),
    ("[actions]\nsessions = '*'", ":2: actions.sessions: "),
    ("[actions]\napproval = ['flush']", ":2: actions.approval: 'flush' is no action: one of "),
    ("[[actions.keys]]\npattern = '*'", ":2: actions.keys.pattern: '*' must begin with two signs of its own"),
    ("[[actions.keys]]\npattern = 'c*'", ":2: actions.keys.pattern: 'c*' must begin with two signs of its own"),
    ("[[actions.keys]]\npattern = 'ca[a-z]'", ":2: actions.keys.pattern: 'ca[a-z]' must begin"),
    ("[[actions.keys]]\ndatabase = -1", ":2: actions.keys.database: "),
    ("[docker]\nexpeted = []", ":2: docker.expeted: is not known; did you mean 'expected'?"),
    ("[[redis]]\nhost = 'h'\n[[redis]]\nhost = 'h'\nprt = 1", ":5: redis.prt: is not known; did you mean 'port'?"),
    ("name = 5", ":1: name: is a number, and must be text in quotes"),
    ("name = 'a b'", ":1: name: 'a b' is no host name: letters, digits, dots, hyphens and underscores"),
    ("name = '../x'", ":1: name: '../x' is no host name"),
    ("discover = 'no'", ":1: discover: is text, and must be true or false"),
    ("mounts = '/data'", ":1: mounts: must be a list of texts, such as"),
    ("mounts = [1]", ":1: mounts: must be a list of texts, such as"),
    ("docker = 1", ":1: docker: is a number, and must be a table: [docker]"),
    ("[postgres]\nhost = 'h'", ":1: postgres: must be written as [[postgres]]"),
    (
        "[[postgres]]\nhost = 'h'\nport = 70000",
        ":3: postgres.port: is 70000, and must be a whole number from 1 to 65535",
    ),
    ("[[postgres]]\nhost = 'h'\nport = true", ":3: postgres.port: is True, and must be a whole number from 1 to 65535"),
    ("[[postgres]]\nport = 1", ":1: postgres.host: give either host or socket"),
    ("[[redis]]\nhost = 'h'\nsocket = '/s'", ":2: redis.host: give either host or socket"),
    (
        "[[redis]]\nhost='h'\n\npassword_file = '/nonexistent/x'",
        ":4: redis.password_file: /nonexistent/x: No such file",
    ),
    ("listen = 'localhost:1'", ":1: listen: 'localhost:1' must be ADDRESS:PORT, such as 0.0.0.0:7443"),
    ("listen = '127.0.0.1:65536'", ":1: listen: '65536' is no port"),
    ("listen = '127.0.0.1:²'", ":1: listen: '²' is no port"),
    ("[tls]\nkey = '/k'", ":1: tls.certificate: is missing; [tls] needs certificate, key and client_ca"),
    ("[sampler]\nseconds = 0.5", ":2: sampler.seconds: must lie between 1 and 86400"),
    ("[sampler]\nseconds = nan", ":2: sampler.seconds: is nan, and must be a number"),
    ("[sampler]\nseconds = 'x'", ":2: sampler.seconds: is text, and must be a number"),
    ("[[http]]\nservice = 's'", ":1: http.url: is missing"),
    ("[[http]]\nurl = 'shop.lab'", ":2: http.url: 'shop.lab' must begin with http:// or https:// and name a host"),
    ("[[http]]\nurl = 'http://[bad/'", ":2: http.url: 'http://[bad/' must begin with"),
    ("[[http]]\nurl = 'http://h:99999/'", ":2: http.url: 'http://h:99999/' must begin with"),
    ("[[tls_endpoint]]\naddress = 'h'", ":2: tls_endpoint.address: 'h' must be HOST:PORT"),
    ("[[tls_endpoint]]\naddress = 'h:99999'", ":2: tls_endpoint.address: 'h:99999' must be HOST:PORT"),
    ("probe_allow = ['10.0.0.1/8']", ":1: probe_allow: '10.0.0.1/8' is no network, such as 10.0.0.0/8"),
    ("probe_allow = ['*.lab:0']", ":1: probe_allow: '*.lab:0' must be a network or a host pattern"),
    ("[limits.HOST-MEMO]\nx = 1", ":1: limits.HOST-MEMO: is no check; did you mean HOST-MEM?"),
    ("[limits.PG-UP]\nslow = 1", ":2: limits.PG-UP.slow: PG-UP has no such limit; it has slow_seconds"),
    ("[limits.PG-UP]\nslow_seconds = nan", ":2: limits.PG-UP.slow_seconds: is nan, and must be a number"),
    ("[limits.PG-UP]\nslow_seconds = inf", ":2: limits.PG-UP.slow_seconds: is inf, and must be a number"),
    ("[limits.PG-UP]\nslow_seconds = '1'", ":2: limits.PG-UP.slow_seconds: is text, and must be a number"),
    ("[limits]\nPG-UP = 1", ":2: limits.PG-UP: is a number, and must be a table: [limits.PG-UP]"),
    ("limits.PG-UP.slow = 1", ":1: limits.PG-UP.slow: PG-UP has no such limit"),
    ("a = \nb = 1", ":1: not TOML: Invalid value"),
    ("a = 1\na = 2", ":2: not TOML: Cannot overwrite a value"),
    ("a = '", ":1: not TOML: "),
    (b"name = '\xff'", ": is not UTF-8 text"),
]


@pytest.mark.parametrize(("text", "said"), BAD, ids=[str(text) for text, _ in BAD])
def test_a_bad_file_is_refused_with_line_field_and_mend(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert refusal(tmp_path, text).startswith(said)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    for mode in (0o640, 0o604, 0o620, 0o601):
        secret.chmod(mode)
        text = f"[[postgres]]\nhost = 'h'\npassword_file = '{secret}'"
        assert refusal(tmp_path, text) == f":3: postgres.password_file: {secret} may be read by others: chmod 0600 it"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_is_refused_by_root(tmp_path: Path, mode: int) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    file = written(tmp_path, "")
    file.chmod(mode)
    with pytest.raises(ConfigError, match="must belong to root and be writable by root alone: chown root, chmod 0644"):
        read(file)


def test_a_file_that_is_another_s_is_refused_by_root(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    file = written(tmp_path, "")
    os.chown(file, 65534, 65534)
    with pytest.raises(ConfigError, match="must belong to root"):
        read(file)


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        read(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(tmp_path)


def command(*words: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
    done = subprocess.run([PROGRAM, *words], env=environment, input=given, capture_output=True, timeout=20, check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize(("text", "said"), BAD[::8] + BAD[-1:])
def test_the_command_refuses_a_bad_file_in_one_line_with_65(tmp_path: Path, text: str | bytes, said: str) -> None:
    file = written(tmp_path, text)
    done = command("config", "--config", file)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.startswith(f"fleetmedic-agent: {file}{said}")
    assert done.stderr.count("\n") == 1


def test_the_command_prints_a_good_file_with_the_origin_of_each_limit_and_no_secret(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o600)
    done = command("config", "--config", written(tmp_path, GOOD.replace("SECRET", str(secret))))
    assert (done.returncode, done.stderr) == (0, "")
    assert "HOST-MEM.warn_free_share = 0.2 ratio (agent.toml:45)" in done.stdout
    assert "HOST-MEM.crit_free_share = 0.05 ratio (default, own)" in done.stdout
    assert "postgres: shop-db /run/postgresql (agent.toml:22)" in done.stdout
    assert "hunter2" not in done.stdout
    for python in ("None", "True", "Path(", "('"):
        assert python not in done.stdout


@pytest.mark.parametrize("words", [["nonsense"], ["config", "--conf"], [], ["check"]], ids=str)
def test_wrong_use_ends_with_64_and_says_how(words: list[str]) -> None:
    done = command(*words)
    assert done.returncode == 64
    assert "usage: fleetmedic-agent" in done.stderr


@pytest.mark.parametrize("given", [b"\xff\xff\xff\xff", b"\0\0", b"\0\0\0\x02\xff\xff"])
def test_garbage_on_standard_input_is_refused_in_one_line(tmp_path: Path, given: bytes) -> None:
    file = written(tmp_path, f'state = "{tmp_path}/s"\nrun = "{tmp_path}/r"\n')
    done = command("check", "--stdio", "--config", file, given=given)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.startswith("fleetmedic-agent: standard input: ")
    assert done.stderr.count("\n") == 1


def test_serving_without_tls_is_refused_with_the_command_that_makes_the_files(tmp_path: Path) -> None:
    done = command("serve", "--config", written(tmp_path, ""))
    assert done.returncode == 65
    assert "[tls] is missing: fleetmedic pki issue" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits.PG-UP]\nslow_seconds = 1" + "0" * 400, ":2: limits.PG-UP.slow_seconds: must be a number of at most"),
        ("x = " + "[" * 3000 + "]" * 3000, ":1: not TOML for us: nested too deeply"),
        ("[sampler]\nseconds = 10000000", ":2: sampler.seconds: must lie between 1 and 86400"),
    ],
    ids=["a huge number", "nested too deeply", "months between samples"],
)
def test_what_is_beyond_all_measure_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    done = command("config", "--config", written(tmp_path, text))
    assert (done.returncode, done.stdout) == (65, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_serving_with_a_certificate_without_names_is_refused_in_one_line(tmp_path: Path) -> None:
    made = certificates.root(datetime.fromtimestamp(time.time(), UTC)).own.write(tmp_path)
    text = f'[tls]\ncertificate = "{made.certificate}"\nkey = "{made.key}"\nclient_ca = "{made.certificate}"\n'
    done = command("serve", "--config", written(tmp_path, text))
    assert done.returncode == 65
    assert "has no DNS name" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_url_with_a_secret_is_printed_without_it(tmp_path: Path) -> None:
    text = '[[http]]\nurl = "http://u:hunter2@127.0.0.1/h?token=hunter3"\n'
    done = command("config", "--config", written(tmp_path, text))
    assert done.returncode == 0
    assert "hunter" not in done.stdout
    assert "127.0.0.1/h" in done.stdout


def test_trust_and_audit_lie_beside_the_system_s_state_and_in_a_user_s_own(tmp_path: Path) -> None:
    beside = read(written(tmp_path, f"front_user = 'root'\nstate = '{tmp_path}/x/agent'\n"))
    assert (beside.trust, beside.audit) == (tmp_path / "x/trust", tmp_path / "x/audit")
    assert (config._kept_beside(Path("/s"), 1000)) == (Path("/s/trust"), Path("/s/audit"))
    given = read(written(tmp_path, "trust = '/t'\naudit = '/a'\n"))
    assert (given.trust, given.audit) == (Path("/t"), Path("/a"))
