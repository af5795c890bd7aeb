"""Twenty secrets planted on a host appear in no answer, store, output, log or process argument."""

import contextlib
import sqlite3
import subprocess
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import agents, child, images, postgres, redis
from tests.lab.agents import Desk
from tests.lab.dockerd import Engine

SECRETS = [f"Canary{number:02d}x{number * 7919:06d}" for number in range(20)]


@pytest.mark.covers("sec:B6", "chk:10.1", "chk:redaction")
def test_no_planted_secret_leaves_the_host(desk: Desk, engine: Engine, folder: Path) -> None:
    files = {name: folder / name for name in ("pg-password", "redis-password")}
    for (_, file), secret in zip(files.items(), SECRETS, strict=False):
        file.write_text(secret + "\n")
        file.chmod(0o600)
    config = f"""
[[postgres]]
socket = "{folder / "p"}"
port = 5451
user = "fleetmedic"
password_file = "{files["pg-password"]}"

[[redis]]
host = "127.0.0.1"
port = 6401
password_file = "{files["redis-password"]}"

[[http]]
service = "orders"
url = "http://user:{SECRETS[2]}@127.0.0.1:9/health?access_token={SECRETS[3]}"
"""
    argv: list[str] = []
    with (
        planted(folder),
        images.run_container(engine, "leaky", CONTAINER, environment={"DB_PASSWORD": SECRETS[4]}, **HEALTH),
        agents.run(desk, "canary", port=7465, config=config) as agent,
        agents.fleet(desk, [agent]) as fleet,
    ):
        said = []
        watcher = threading.Thread(target=watch_arguments, args=(argv, stop := threading.Event()), daemon=True)
        watcher.start()
        for words in (["--show", "all"], ["--format", "json"], ["--format", "jsonl"]):
            done = fleet.check(*words)
            said += [done.out, done.err]
        assert "10 idle in transaction" in said[0]
        assert '"PG-UP", "status": "ok"' in said[4]
        run = fleet.check("--format", "json").json()["run"]
        said += [desk.run("runs", "show", run).out, desk.run("describe", "-i", fleet.inventory).out]
        stop.set()
        watcher.join()
        logs = [file.read_bytes() for file in agent.folder.rglob("*") if file.is_file() and file.suffix != ".key"]

    store = b"".join(file.read_bytes() for file in (desk.folder / "state").rglob("*") if file.is_file())
    answers = b"".join(kept(desk))
    assert b"password=***" in answers, "the output of a health check, which snapshots alone hold"
    everything = (
        "".join(said + argv).encode() + store + answers + b"".join(log for log in logs if b"password_file" not in log)
    )
    leaked = [secret for secret in SECRETS if secret.encode() in everything]
    assert leaked == []


def kept(desk: Desk) -> Iterator[bytes]:
    """The whole answers of the store, snapshots and all, as they came over the wire."""
    for file in (desk.folder / "state").rglob("controller.db"):
        with contextlib.closing(sqlite3.connect(file)) as base:
            for (answer,) in base.execute("SELECT answer FROM reports WHERE answer IS NOT NULL"):
                yield zlib.decompress(answer)


CONTAINER = ["sh", "-c", f"echo token={SECRETS[5]}; exec sleep 600"]
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
        stack.enter_context(redis.run(folder / "r", port=6401, settings={"requirepass": SECRETS[1]}))
        yield


def watch_arguments(seen: list[str], stop: threading.Event) -> None:
    """Every command line that names fleetmedic, as anybody on the machine can read it."""
    while not stop.wait(0.01):
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        seen += [line for line in listed.splitlines() if "fleetmedic" in line or "agent" in line]
    assert child.state(1)
