"""Measures a real agent beside real services: memory, idle CPU, and the CPU of a full check.

    python tests/lab/sandbox.py .venv/bin/python -m benchmarks.footprint

PostgreSQL, Redis, a Docker engine with three containers, a web application and nginx with TLS, all found by discovery.
"""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import all_met, table
from benchmarks.process_cost import measure_checks, measure_idle
from tests.lab import agents, authority, dockerd, images, nginx, postgres, redis, sandbox, webapp
from tests.lab.agents import Fleet
from tests.lab.waiting import until

CONTAINERS = 3
INVENTORY = "    fleetmedic_http: {orders: 'http://127.0.0.1:8000/health/ready'}\n"


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Fleet]:
    """One host with everything on it, and its agent after its first sample."""
    with contextlib.ExitStack() as running:
        start = running.enter_context
        database = start(postgres.run(folder / "p", port=5432, sockets=Path("/run/postgresql")))
        cache = start(redis.run(folder / "r", port=6379))
        start(webapp.run(folder / "w", port=8000, postgres=database, redis=cache))
        made = authority.root(datetime.now(UTC)).issue("shop", dns=["shop"]).write(folder / "tls")  # noqa: TID251
        start(
            nginx.run(
                folder / "n", tls_port=443, http_port=80, backend_port=8000, certificate=made.certificate, key=made.key
            )
        )
        if os.geteuid() == 0:
            engine = start(dockerd.run(folder / "d", address=Path("/run/docker.sock")))
            for number in range(CONTAINERS):
                start(images.run_container(engine, f"c{number}", ["sleep", "3600"]))
        desk = agents.desk(folder / "desk")
        agent = start(agents.run(desk, "host01", port=7443))
        until("the warm connection", lambda: len(agent.pids()) > 2)
        yield start(agents.fleet(desk, [agent], INVENTORY))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle-seconds", type=float, default=240.0, help="two samples long, so that their cost counts")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if not sandbox.inside():
        raise SystemExit(
            "run this in the sandbox: python tests/lab/sandbox.py .venv/bin/python -m benchmarks.footprint"
        )
    with site(sandbox.LAB) as fleet:
        agent, command = fleet.agents[0], [str(agents.BIN / "fleetmedic"), "check", "-i", str(fleet.inventory)]
        first = fleet.check("--show", "all")
        print(first.out)
        environment = ["env", *(f"{name}={value}" for name, value in fleet.desk.environment.items())]
        figures = measure_idle(agent.front, agent.worker, given.idle_seconds)
        figures += measure_checks(agent.front, agent.worker, [*environment, *command], given.repeats)
        shown = subprocess.run(
            ["ps", "-o", "pid,ppid,rss,args", "-p", ",".join(map(str, agent.pids()))],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    print(shown)
    print(table(figures))
    sys.exit(0 if all_met(figures) else 1)


if __name__ == "__main__":
    main()
