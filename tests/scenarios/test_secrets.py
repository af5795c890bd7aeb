"""Fifty secrets planted on a host, and our keys, appear in no answer, store, output, log, argument or environment."""

import contextlib
import shlex
import sqlite3
import subprocess
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.render import check_junit, check_nagios
from controller.snoozing import NONE
from controller.store import database, runs
from tests.lab import agents, images, postgres, redis
from tests.lab.agents import Agent, Desk, Fleet
from tests.lab.dockerd import Engine

SECRETS = [f"Canary{number:02d}x{number * 7919:06d}" for number in range(50)]
TABLES = ("processes", "slowlog", "clients")


@pytest.mark.covers("sec:B6", "chk:10.1", "chk:redaction")
def test_no_planted_secret_leaves_the_host(desk: Desk, engine: Engine, folder: Path) -> None:
    config = configuration(folder)
    seen: list[bytes] = []
    with (
        planted(folder),
        processes(),
        images.run_container(engine, "leaky", CONTAINER, environment=ENVIRONMENT, **HEALTH),
        agents.run(desk, "canary", port=7465, config=config) as agent,
        agents.fleet(desk, [agent]) as plain,
    ):
        fleet = agents.asking(plain, **VARIABLES)
        watcher = threading.Thread(target=watch_processes, args=(agent, seen, stop := threading.Event()), daemon=True)
        watcher.start()
        said = outputs(fleet)
        stop.set()
        watcher.join()
        # What the secrets are in by right: the files that are named, and the keys.
        own = {".key", ".toml", ".secret"}
        logs = [file.read_bytes() for file in agent.folder.rglob("*") if file.is_file() and file.suffix not in own]

    store = [file.read_bytes() for file in (desk.folder / "state").rglob("*") if file.is_file()]
    answers = b"".join(kept(desk))
    assert b"password=***" in answers, "the output of a health check, which snapshots alone hold"
    assert any(b"fleetmedic-agent" in each for each in seen), "the processes were looked at"
    everything = b"\n".join([*said, *seen, *logs, *store, answers])
    leaked = [secret for secret in (*SECRETS, *private_keys(desk, agent)) if secret.encode() in everything]
    assert leaked == []


def outputs(fleet: Fleet) -> list[bytes]:
    """Everything that every command says of this host, and writes."""
    desk, files = fleet.desk, fleet.desk.folder / "canary-files"
    whole = fleet.check("--format", "json", "--output-dir", files)
    run = whole.json()["run"]
    said = [
        fleet.check("--show", "all"),
        whole,
        fleet.check("--format", "jsonl"),
        desk.run("runs", "show", run),
        desk.run("runs", "show", run, "--paste"),
        desk.run("describe", "-i", fleet.inventory),
        desk.run("inventory", "host", "canary", "-i", fleet.inventory),
        desk.run("inventory", "list", "-i", fleet.inventory),
        desk.run("report", "--title", "Canaries", "-s", "2", "--start-time", "1 hour ago", "--output-dir", files),
        desk.run("config", "show"),
        *(desk.run("show", table, "-i", fleet.inventory) for table in TABLES),
    ]
    assert "10 idle in transaction" in said[0].out
    assert '"PG-UP", "status": "ok"' in said[2].out
    processes_seen = said[-len(TABLES)].out
    assert "--password=***" in processes_seen, "a process with a secret in its arguments was shown"
    base = database.connect(Path(desk.environment["XDG_STATE_HOME"]) / "fleetmedic" / "controller.db")
    with contextlib.closing(base):
        loaded = runs.load(base, run)
    assert loaded is not None
    texts = [check_junit.document(loaded, NONE), check_nagios.text(loaded, NONE)]
    texts += [each for done in said for each in (done.out, done.err)]
    written = [file.read_bytes() for file in files.iterdir()]
    assert len(written) == 6
    return [*map(str.encode, texts), *written]


def private_keys(desk: Desk, agent: Agent) -> Iterator[str]:
    """A line from within each private key of ours."""
    for place in (desk.pki, agent.folder):
        for file in place.rglob("*.key"):
            yield file.read_text().splitlines()[1]


def configuration(folder: Path) -> str:
    """The tables of agent.toml: secrets in files, and some where nobody should write them."""
    files = [folder / f"{number}.secret" for number in range(3)]
    for file, secret in zip(files, (SECRETS[0], SECRETS[1], SECRETS[20]), strict=True):
        file.write_text(secret + "\n")
        file.chmod(0o600)
    return f"""
[[postgres]]
socket = "{folder / "p"}"
port = 5451
user = "fleetmedic"
password_file = "{files[0]}"

[[redis]]
host = "127.0.0.1"
port = 6401
password_file = "{files[1]}"

[[redis]]
service = "gone"
host = "127.0.0.1"
port = 6409
password_file = "{files[2]}"

[[http]]
service = "orders"
url = "http://user:{SECRETS[2]}@127.0.0.1:9/health?access_token={SECRETS[3]}"

[[page]]
service = "shop"
url = "http://user:{SECRETS[21]}@127.0.0.1:9/?api_key={SECRETS[22]}"

[[dependency]]
service = "mail"
url = "http://user:{SECRETS[23]}@127.0.0.1:9/?token={SECRETS[24]}"
"""


VARIABLES = {
    "fleetmedic_http": {"orders": f"http://u:{SECRETS[25]}@127.0.0.1:9/h?token={SECRETS[26]}"},
    "ansible_password": SECRETS[27],
    "ansible_become_password": SECRETS[28],
    "app_dsn": f"postgres://app:{SECRETS[29]}@db/shop",
}
# By arguments that a person would write; each waits for its standard input.
ARGUMENTS = (
    ("sh", "-c", "read x", "app", f"--password={SECRETS[30]}"),
    ("sh", "-c", "read x", "app", "--token", SECRETS[31]),
    ("sh", "-c", "read x", "psql", f"postgres://app:{SECRETS[32]}@db/shop"),
    ("redis-cli", "-c", "read x", "-a", SECRETS[33]),
    ("sh", "-c", "read x", "curl", "-H", f"Authorization: Bearer {SECRETS[34]}"),
    ("sh", "-c", "read x", "env", f"PGPASSWORD={SECRETS[35]}", "psql"),
    ("sshpass", "-c", "read x", "-p", SECRETS[36]),
)


@contextlib.contextmanager
def processes() -> Iterator[None]:
    """Processes of the host with secrets in their arguments, and one in their environment."""
    started = [
        subprocess.Popen(words, executable="/bin/sh", stdin=subprocess.PIPE, env={"DB_PASSWORD": SECRETS[37]})
        for words in ARGUMENTS
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()


def kept(desk: Desk) -> Iterator[bytes]:
    """The whole answers of the store, snapshots and all, as they came over the wire."""
    for file in (desk.folder / "state").rglob("controller.db"):
        with contextlib.closing(sqlite3.connect(file)) as base:
            for (answer,) in base.execute("SELECT answer FROM reports WHERE answer IS NOT NULL"):
                yield zlib.decompress(answer)


LOG = (
    f"token={SECRETS[5]}",
    f"ERROR sqlalchemy.exc.OperationalError: (postgres://app:{SECRETS[38]}@db/shop) timeout",
    f"ERROR GET /orders?access_token={SECRETS[39]} Authorization: Bearer {SECRETS[40]}",
    f"CRITICAL Set-Cookie: session={SECRETS[41]}; path=/",
)
CONTAINER = ["sh", "-c", f"printf '%s\\n' {shlex.join(LOG)}; exec sleep 600", "app", f"--api-key={SECRETS[42]}"]
ENVIRONMENT = {
    "DB_PASSWORD": SECRETS[4],
    "DATABASE_URL": f"postgres://app:{SECRETS[43]}@db/shop",
    "AWS_SECRET_ACCESS_KEY": SECRETS[44],
}
HEALTH: dict[str, Any] = {
    "healthcheck": {
        "test": ["CMD-SHELL", f"echo 'postgres://app:{SECRETS[6]}@db/x password={SECRETS[7]}'; exit 1"],
        "interval": 10**9,
        "retries": 1,
    },
    "restart_policy": {"Name": "always"},
}
STATEMENTS = [
    f"SELECT '{SECRETS[8]}'",
    f"SELECT $tag${SECRETS[9]}$tag$",
    f"SELECT E'{SECRETS[10]}\\n'",
    f"SELECT 1 -- {SECRETS[11]}",
    f"SELECT /* {SECRETS[12]} */ 1",
    f"SELECT U&'{SECRETS[13]}'",
    f"SELECT 1 WHERE 'a' <> 'password={SECRETS[14]}'",
    f"SELECT B'1', '{SECRETS[15]}', 'it''s {SECRETS[16]}'",
    f"SELECT $${SECRETS[17]}$$",
    f"SELECT 'postgres://u:{SECRETS[18]}@h/d', '{SECRETS[19]}'",
]


@contextlib.contextmanager
def planted(folder: Path) -> Iterator[None]:
    """Sessions idle in transactions with secrets in their statements, and a Redis with a password."""
    hba = ("local all postgres trust", "local all all scram-sha-256", "host all all 127.0.0.1/32 trust")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres.run(folder / "p", port=5451, hba=hba, settings={"max_connections": "40"}))
        with contextlib.closing(server.connect(autocommit=True)) as session:
            session.execute(f"CREATE ROLE fleetmedic LOGIN PASSWORD '{SECRETS[0]}'")
            session.execute("GRANT pg_monitor TO fleetmedic")
        for statement in STATEMENTS:
            held = stack.enter_context(contextlib.closing(server.connect()))
            held.execute(statement)
        named = server.connect(application_name=f"app password={SECRETS[45]}")
        stack.enter_context(contextlib.closing(named))
        cache = stack.enter_context(
            redis.run(folder / "r", port=6401, settings={"requirepass": SECRETS[1], "slowlog-log-slower-than": "0"})
        )
        with contextlib.closing(cache.client(password=SECRETS[1])) as client:
            client.config_set("masterauth", SECRETS[46])
            client.set(f"session:{SECRETS[47]}", f"token={SECRETS[48]}")
            client.client_setname(f"token={SECRETS[49]}")
            yield


def watch_processes(agent: Agent, seen: list[bytes], stop: threading.Event) -> None:
    """What anybody on the machine can read of our processes, and their environment, which root can."""
    while not stop.wait(0.05):
        ours = set(agent.pids())
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (place / "cmdline").read_bytes()
                if int(place.name) in ours or b"fleetmedic" in words.partition(b"--")[0]:
                    seen += [words, (place / "environ").read_bytes()]
