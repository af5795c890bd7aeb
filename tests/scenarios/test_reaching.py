"""Dependencies, front pages, Python servers and deployments: their faults, found by real agents over mutual TLS."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.coverage import Evidence
from tests.lab import agents, blackhole, child, images, requirements
from tests.lab.agents import Desk, Fleet
from tests.lab.dockerd import Engine
from tests.lab.redis import Redis
from tests.lab.waiting import listens, until
from tests.lab.webapp import WebApp

APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"well"})
"""


@contextlib.contextmanager
def listening(address: str, port: int) -> Iterator[None]:
    with socket.create_server((address, port)):
        yield


@pytest.mark.covers("chk:DEP-TCP")
@pytest.mark.parametrize(("fault", "said"), [("refused", "refuses connections"), ("silent", "does not answer")])
def test_a_dependency_that_can_not_be_reached_is_named_from_each_host_that_needs_it(
    site: Fleet, desk: Desk, evidence: Evidence, fault: str, said: str
) -> None:
    with agents.run(desk, "web02", port=7472) as second, agents.fleet(desk, [*site.agents, second]) as fleet:
        asked = agents.asking(fleet, fleetmedic_dependencies={"mail": "127.0.0.1:2525"})
        with listening("127.0.0.1", 2525):
            evidence.well("DEP-TCP", asked.findings("--include", "DEP-*"), name="127.0.0.1:2525")
            if fault == "silent":
                with blackhole.drop("127.0.0.1", 2525):
                    found = asked.findings("--include", "DEP-*")
        if fault == "refused":
            found = asked.findings("--include", "DEP-*")
    bad = evidence.fault("DEP-TCP", found, service="mail")
    assert (bad["status"], said in bad["summary"]) == ("crit", True)
    assert {item["host"] for item in found if item["id"] == "DEP-TCP"} == {"db01", "web02"}


@pytest.mark.covers("chk:DEP-HTTP", "exp:E21")
def test_a_dependency_that_answers_wrongly_is_told_from_one_that_is_not_there(
    site: Fleet, webapp: WebApp, redis: Redis, evidence: Evidence
) -> None:
    asked = agents.asking(site, fleetmedic_dependencies={"payments": f"{webapp.url}/health/ready"})
    evidence.well("DEP-HTTP", asked.findings("--include", "DEP-*"), service="payments")

    with child.stopped(redis.pid):
        found = asked.findings("--include", "DEP-*")
    bad = evidence.fault("DEP-HTTP", found, service="payments")
    assert bad["summary"].startswith("503 Service Unavailable, where a success is expected")
    assert [item["status"] for item in found if item["id"] == "DEP-TCP"] == ["ok"]

    gone = agents.asking(site, fleetmedic_dependencies={"payments": "http://127.0.0.1:2526/health"})
    statuses = {item["id"]: item["status"] for item in gone.findings("--include", "DEP-*")}
    assert statuses == {"DEP-TCP": "crit", "DEP-HTTP": "skipped"}


class Site(SimpleHTTPRequestHandler):
    """Files of a folder; of what it does not have, the front page with `fallback`, as many single-page servers do."""

    fallback = False

    def send_head(self) -> Any:
        if self.fallback and not Path(self.translate_path(self.path)).exists():
            self.path = "/index.html"
        return super().send_head()

    def log_message(self, *_: object) -> None:
        pass


class Falling(Site):
    fallback = True


@contextlib.contextmanager
def front(folder: Path, address: str, release: str, *, fallback: bool = False) -> Iterator[Path]:
    """Serve a front page with its script and stylesheet on port 8090 of an address."""
    folder.mkdir()
    (folder / "index.html").write_text('<link rel="stylesheet" href="/a.css"><script src="/b.js"></script>')
    (folder / "a.css").write_text("body {}")
    (folder / "b.js").write_text(f"release = '{release}'")
    handler = partial(Falling if fallback else Site, directory=folder)
    with ThreadingHTTPServer((address, 8090), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield folder
        finally:
            server.shutdown()


@pytest.mark.covers("chk:HTTP-ASSETS")
@pytest.mark.parametrize(("fallback", "said"), [(False, "404"), (True, "200 with type text/html")])
def test_a_page_whose_script_was_not_deployed_is_named(
    site: Fleet, folder: Path, evidence: Evidence, fallback: bool, said: str
) -> None:
    asked = agents.asking(site, fleetmedic_pages={"shop": "http://127.0.0.1:8090/"})
    with front(folder / "a", "127.0.0.1", "1", fallback=fallback) as files:
        evidence.well("HTTP-ASSETS", asked.findings("--include", "HTTP-ASSETS"), service="shop")
        (files / "b.js").unlink()
        bad = evidence.fault("HTTP-ASSETS", asked.findings("--include", "HTTP-ASSETS"), service="shop")
    assert "1 of 2 scripts and stylesheets can't be used, http://127.0.0.1:8090/b.js" in bad["summary"]
    assert said in bad["summary"]


@pytest.mark.covers("chk:HTTP-ASSETS", "exp:X11")
def test_the_host_that_serves_another_release_of_the_page_is_named(desk: Desk, folder: Path) -> None:
    with contextlib.ExitStack() as running:
        fleet = []
        for place, release in ((1, "1"), (2, "1"), (3, "2")):
            name, address = f"front{place}", f"127.0.2.{place}"
            running.enter_context(front(folder / name, address, release))
            page = f'\n[[page]]\nservice = "shop"\nurl = "http://{address}:8090/"\n'
            started = agents.run(desk, name, port=7480 + place, top="discover = false", config=page)
            fleet.append(running.enter_context(started))
        asked = running.enter_context(agents.fleet(desk, fleet))
        found = asked.findings("--include", "HTTP-ASSETS")
        text = asked.check("--include", "HTTP-ASSETS").out
    odd = [item for item in found if item["kind"] == "fleet"]
    assert [(item["host"], item["status"], item["name"]) for item in odd] == [
        ("front3", "warn", "release of shop at 8090/")
    ]
    assert "as on 1 of 3; the usual one is" in odd[0]["summary"]
    assert re.search(r"^WARN front3 HTTP-ASSETS  shop release of shop at 8090/: ", text, re.MULTILINE)


@contextlib.contextmanager
def uvicorn(folder: Path, port: int, *words: str, python: Path = Path(sys.executable)) -> Iterator[child.Child]:
    """Run a small application of the name `stock` on uvicorn."""
    folder.mkdir(exist_ok=True)
    (folder / "stock.py").write_text(APP)
    environment = {"PATH": requirements.SEARCH}
    if python != Path(sys.executable):
        environment |= {"PYTHONHOME": "/usr", "PYTHONPATH": sysconfig.get_path("purelib")}
    with child.run(
        [python, "-m", "uvicorn", "--app-dir", folder, "stock:app", "--port", str(port), "--no-access-log", *words],
        log=folder / "stock.log",
        ready=lambda _: listens(port),
        name="stock",
        environment=environment,
        seconds=20.0,
        patience=3.0,
    ) as server:
        yield server


def procs(fleet: Fleet) -> list[dict[str, Any]]:
    return fleet.findings("--include", "PY-PROCS", "--service", "stock")


def workers(master: int) -> list[int]:
    """The workers' pids, by the command line that multiprocessing gives them."""
    found = []
    for pid in child.descendants(master):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may have ended since it was listed
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


@pytest.mark.covers("chk:PY-PROCS", "exp:E5")
def test_a_worker_that_is_dead_and_not_replaced_is_missed(site: Fleet, folder: Path, evidence: Evidence) -> None:
    with uvicorn(folder, 8021, "--workers", "2") as server:
        until("two workers", lambda: len(workers(server.pid)) == 2)
        evidence.well("PY-PROCS", procs(site), service="stock")
        with child.stopped(server.pid):
            os.kill(workers(server.pid)[0], signal.SIGKILL)
            bad = evidence.fault("PY-PROCS", procs(site), service="stock")
    assert "1 of 2 workers (--workers 2)" in bad["summary"]
    assert {"Z", "S"} <= {row[2] for row in bad["table"]["rows"]}


@pytest.mark.covers("chk:PY-PROCS")
def test_workers_that_die_again_and_again_are_named_though_all_are_there(
    site: Fleet, folder: Path, evidence: Evidence
) -> None:
    with uvicorn(folder, 8022, "--workers", "2") as server:
        until("two workers", lambda: len(workers(server.pid)) == 2)
        for _ in range(3):
            evidence.well("PY-PROCS", procs(site), service="stock")
            old = workers(server.pid)
            os.kill(old[0], signal.SIGKILL)
            until("a new worker", lambda: len(set(workers(server.pid)) - set(old)) == 1)  # noqa: B023
        bad = evidence.fault("PY-PROCS", procs(site), service="stock")
    assert "3 workers died and were started again in 5 min (limit 2), 2 are there" in bad["summary"]


def another_python(folder: Path) -> tuple[Path, str]:
    """A copy of the system's interpreter that is, by its own word, one release ahead."""
    real = Path("/usr/bin/python3").resolve()
    text = real.read_bytes()
    whole = subprocess.run([real, "-c", "import platform; print(platform.python_version())"], capture_output=True)
    version = whole.stdout.decode().strip()
    ahead = version[:-1] + str((int(version[-1]) + 1) % 10)
    copy = folder / real.name
    copy.write_bytes(text.replace(f"\0{version}\0".encode(), f"\0{ahead}\0".encode()))
    copy.chmod(0o755)
    return copy, ahead


@pytest.mark.covers("chk:PY-VERSION", "exp:E6")
def test_the_python_that_differs_from_the_service_s_others_is_named(
    site: Fleet, folder: Path, evidence: Evidence
) -> None:
    python, ahead = another_python(folder)
    with uvicorn(folder / "1", 8023):
        evidence.well("PY-VERSION", site.findings("--include", "PY-VERSION", "--service", "stock"), service="stock")
        with uvicorn(folder / "2", 8024), uvicorn(folder / "3", 8025, python=python) as server:
            found = site.findings("--include", "PY-VERSION", "--service", "stock")
            itself = subprocess.run(
                [f"/proc/{server.pid}/exe", "-V"], capture_output=True, text=True, env={"PYTHONHOME": "/usr"}
            )
    bad = evidence.fault("PY-VERSION", found, service="stock")
    assert (bad["status"], bad["name"]) == ("warn", "Python of uvicorn stock:app")
    assert bad["summary"].startswith(f"{ahead}, as on 1 of 3; the usual one is ")
    assert itself.stdout == f"Python {ahead}\n"


@pytest.mark.covers("chk:PY-VERSION", "chk:PY-PROCS", "exp:E6")
def test_the_python_a_container_begins_with_is_told_and_what_is_run_in_it_by_hand_is_not(
    site: Fleet, engine: Engine
) -> None:
    command = ["python3", "-c", "import time; time.sleep(600)"]
    with images.run_container(engine, "jobs", command, init=True) as container:
        until("python", lambda: any("python3" in " ".join(row) for row in container.top()["Processes"]))
        before = site.findings("--include", "PY-*", "--service", "jobs")
        container.exec_run(command, detach=True)
        after = site.findings("--include", "PY-*", "--service", "jobs")
    told = [(item["id"], item["name"], item["status"]) for item in before]
    assert told == [("PY-PROCS", "python in jobs", "ok"), ("PY-VERSION", "python in jobs", "ok")]
    assert [(item["id"], item["name"], item["status"]) for item in after] == told


@pytest.mark.covers("chk:DEPLOY-RECENT", "exp:C7")
def test_a_deployment_of_the_last_hour_is_told_with_its_release(
    site: Fleet, engine: Engine, evidence: Evidence
) -> None:
    evidence.well("DEPLOY-RECENT", site.findings("--include", "DEPLOY-RECENT"))
    with images.run_container(engine, "orders-app", ["sleep", "600"], image=images.app(engine, "2.1.0"), init=True):
        found = site.findings("--include", "DEPLOY-RECENT")
        code = site.check("--include", "DEPLOY-RECENT", "--strict").code
    told = evidence.fault("DEPLOY-RECENT", found, name="orders-app")
    assert "image lab/app:2.1.0, release 2.1.0" in told["summary"]
    assert code == 0
