"""An agent with an empty configuration finds what is on its host, in containers that publish nothing too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import fixtures, images, postgres, redis
from tests.lab.agents import BIN, Desk, Fleet
from tests.lab.dockerd import Engine
from tests.lab.waiting import until


@pytest.mark.covers("chk:discovery")
def test_servers_in_a_container_without_network_are_found_and_looked_into(site: Fleet, engine: Engine) -> None:
    with images.run_databases(engine, "app-db", network="none"):

        def answered() -> bool:
            found = [item for item in site.findings("--include", "*-UP") if item["service"] == "app-db"]
            return sorted((item["id"], item["status"]) for item in found) == [("PG-UP", "ok"), ("REDIS-UP", "ok")]

        until("both servers answer", answered, seconds=15, every=0.3)
        found = [item for item in site.findings() if item["service"] == "app-db"]

    assert {item["id"] for item in found if item["status"] == "ok"} >= {
        "PG-UP",
        "PG-CONN-SATURATION",
        "PG-IDLE-TXN",
        "PG-LOCK-ROOT",
        "REDIS-UP",
        "REDIS-MEM-NEAR-MAX",
    }
    assert {item["name"] for item in found if item["kind"] != "container"} == {
        "/run/postgresql in app-db",
        "/run/postgresql in app-db data",
        "127.0.0.1:6379 in app-db",
    }


@pytest.mark.covers("chk:discovery", "exp:local")
def test_with_no_inventory_and_no_configuration_this_machine_is_looked_at(desk: Desk, folder: Path) -> None:
    with postgres.run(folder / "p", port=5447), redis.run(folder / "r", port=6397):
        done = desk.check("--format", "json")

    found = done.json()["reports"][0]["findings"]
    well = {(item["id"], item["name"]) for item in found if item["status"] == "ok"}
    assert ("PG-UP", str(folder / "p")) in well
    assert ("REDIS-UP", "127.0.0.1:6397") in well
    assert ("HOST-DISK-SPACE", "/") in well


@pytest.mark.covers("chk:discovery")
def test_a_redis_on_a_unix_socket_alone_is_found(desk: Desk, folder: Path) -> None:
    settings = {"port": "0", "unixsocket": str(folder / "redis.sock")}
    with subprocess.Popen(
        ["redis-server", *(word for name, value in settings.items() for word in (f"--{name}", value))],
        stdout=subprocess.DEVNULL,
        cwd=folder,
    ) as server:
        until("the socket", lambda: (folder / "redis.sock").exists())
        done = desk.check("--include", "REDIS-UP", "--format", "json")
        server.terminate()

    found = done.json()["reports"][0]["findings"]
    assert (str(folder / "redis.sock"), "ok") in [(item["name"], item["status"]) for item in found]


@pytest.mark.covers("chk:needs-root", "exp:local")
def test_without_root_what_needs_root_says_so_and_the_rest_is_looked_at(engine: Engine, folder: Path) -> None:
    del engine
    fixtures.need(root=True)
    (folder / "home").mkdir()
    os.chown(folder / "home", 65534, 65534)
    with postgres.run(folder / "p", port=5448, sockets=folder / "p"):
        done = subprocess.run(
            [
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                BIN / "fleetmedic",
                "check",
                "--format",
                "json",
            ],
            env={"PATH": os.defpath, "HOME": str(folder / "home"), "LANG": "C.UTF-8"},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        found = json.loads(done.stdout)["reports"][0]["findings"]

    reasons = {item["id"]: item.get("reason", "") for item in found if item["status"] == "skipped"}
    assert "needs root" in reasons["DOCKER-DAEMON"], done.stderr
    ok = {item["id"] for item in found if item["status"] == "ok"}
    assert {"HOST-DISK-SPACE", "HOST-MEM", "PG-UP"} <= ok


@pytest.mark.covers("chk:discovery")
def test_discover_prints_what_is_looked_at(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent", "discover"],
        env={"PATH": os.defpath, "HOME": str(folder), "XDG_STATE_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert any(line.split()[:3] == ["filesystem", "host", "/"] for line in done.stdout.splitlines())
