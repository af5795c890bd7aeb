"""Each diagnostic command of the runbook, run as it is written beside ours, on the same lab: they must agree.

Where the runbook's command is wrong, that is held too: it says one thing, we say what is.
"""

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from docker.models.containers import Container

from tests.lab import agents, dns_server, fixtures, images, redis, requirements
from tests.lab.agents import Desk, Fleet
from tests.lab.dockerd import Engine
from tests.lab.nginx import Nginx
from tests.lab.waiting import until
from tests.lab.webapp import WebApp

# As procedure.md has it: blocked pid, blocking pid, by relation alone.
RUNBOOKS_LOCKS = """
SELECT blocked.pid, blocking.pid FROM pg_locks blocked
JOIN pg_locks blocking ON blocking.locktype = blocked.locktype
 AND blocking.relation = blocked.relation AND blocking.pid <> blocked.pid
WHERE NOT blocked.granted"""


@dataclass(frozen=True)
class Backend:
    """The runbook's two containers, app-db with PostgreSQL and Redis in it and app-backend with Python."""

    database: Container
    sockets: Path

    def connect(self, **more: Any) -> psycopg.Connection:
        """A session as root of the host has it: through the container's own files."""
        return psycopg.connect(host=str(self.sockets), user="postgres", dbname="postgres", **more)


@pytest.fixture(scope="module")
def backend(engine: Engine) -> Iterator[Backend]:
    command = ["python3", "-c", "import time; time.sleep(900)"]
    with (
        images.run_databases(engine, "app-db", network="none") as database,
        images.run_container(engine, "app-backend", command, init=True, mem_limit="128m"),
    ):
        made = Backend(database, Path(f"/proc/{database.attrs['State']['Pid']}/root/run/postgresql"))

        def answers() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                made.connect().close()
                return True
            return False

        until("PostgreSQL in app-db", answers, seconds=20, every=0.2)
        yield made


def shell(command: str, code: int = 0) -> str:
    """What a responder would type, on this host; `docker` is the lab's engine."""
    fixtures.need("curl", "docker", "openssl", "nslookup")
    done = subprocess.run(
        ["sh", "-c", command],
        env={"PATH": requirements.SEARCH, "DOCKER_HOST": "unix:///run/docker.sock", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def show(site: Fleet, table: str, **wanted: object) -> list[dict[str, Any]]:
    """Rows of one of our tables; those alone whose columns are as `wanted`."""
    done = site.desk.run("show", table, "-i", site.inventory, "--json")
    assert done.code in (0, 2), done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows[-1]["type"] == "summary"
    return [row for row in rows[:-1] if all(row[name] == value for name, value in wanted.items())]


def psql(query: str) -> list[list[str]]:
    return [line.split("|") for line in shell(f'docker exec app-db psql -U postgres -AtX -c "{query}"').splitlines()]


@contextlib.contextmanager
def running(*sessions: Callable[[], object]) -> Iterator[None]:
    threads = [threading.Thread(target=session, daemon=True) for session in sessions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(timeout=10)


@contextlib.contextmanager
def chain(backend: Backend) -> Iterator[int]:
    """A root that holds a row idle in a transaction, and three that wait for it; gives the root's pid."""

    def wait() -> None:
        with contextlib.suppress(psycopg.Error), backend.connect() as session:
            session.execute("UPDATE stock SET n = 1")

    with backend.connect(autocommit=True) as admin:
        admin.execute("CREATE TABLE IF NOT EXISTS stock (n int)")
        admin.execute("INSERT INTO stock VALUES (0)")
    root = backend.connect(application_name="nightly-report")
    root.execute("UPDATE stock SET n = 2")
    try:
        with running(wait, wait, wait):
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            until("three wait", lambda: psql(waits) == [["3"]], seconds=10, every=0.2)
            try:
                yield root.info.backend_pid
            finally:
                root.rollback()
    finally:
        root.close()


@pytest.mark.covers("exp:E3")
def test_a_health_body_has_the_sub_checks_that_jq_would_print(site: Fleet, webapp: WebApp) -> None:
    said = json.loads(shell(f"curl -s {webapp.url}/health/ready"))
    asked = agents.asking(site, fleetmedic_http={"orders": f"{webapp.url}/health/ready"})
    (found,) = [item for item in asked.findings("--include", "HTTP-HEALTH") if item["service"] == "orders"]
    ours = {row[0]: row[1] for row in found["table"]["rows"]}
    assert {f"check {name}": text for name, text in said["checks"].items()}.items() <= ours.items()


@pytest.mark.covers("exp:E4")
def test_errors_by_endpoint_are_those_that_grep_and_uniq_count_and_are_summed_over_hosts(
    site: Fleet, desk: Desk, engine: Engine
) -> None:
    write = 'for n in 1 2 3; do echo \'{"level":"ERROR","path":"/pay","n":\'$n\'}\'; done'
    write += """; echo '{"level":"ERROR","path":"/cart"}'; echo '{"level":"INFO","path":"/pay"}'; sleep 600"""
    second = agents.run(desk, "web04", port=7474)
    with (
        images.run_container(engine, "app-front", ["sh", "-c", write], init=True),
        second as other,
        agents.fleet(desk, [*site.agents, other]) as fleet,
    ):
        command = """docker logs app-front --since 15m 2>&1 | grep ERROR | grep -oP '"path":"[^"]*"' | sort | uniq -c"""
        until("it wrote", lambda: "cart" in shell(command), seconds=5, every=0.1)
        said = shell(f"{command} | sort -rn")
        lines = int(shell("docker logs app-front --since 15m 2>&1 | grep -c ERROR"))
        ours = show(fleet, "errors", container="app-front")
    theirs = [(int(count), path) for count, path in re.findall(r'(\d+) "path":"([^"]*)"', said)]
    # Both agents see the one engine of this machine, and so each error twice.
    assert [(row["count"], row["path"]) for row in ours] == [(2 * count, path) for count, path in theirs]
    assert sum(row["count"] for row in ours) == 2 * lines
    assert {row["host"] for row in ours} == {"db01 web04"}


@pytest.mark.covers("exp:E5")
def test_processes_of_a_container_are_those_that_ps_lists_in_it(site: Fleet, backend: Backend) -> None:
    def listed() -> dict[str, int]:
        rows = [line.split(None, 2) for line in shell("docker exec app-db ps axo pid,rss,args").splitlines()[1:]]
        return {row[2].strip(): int(row[1]) for row in rows if not row[2].startswith("ps ")}

    # Sessions come and go meanwhile.
    before = listed()
    ours = {row["command"]: row["memory_bytes"] for row in show(site, "processes", container="app-db")}
    after = listed()
    assert before.keys() & after.keys() <= ours.keys() <= before.keys() | after.keys()
    server = next(name for name in ours if "redis-server" in name)
    assert near(ours[server] / 1024, after[server], 0.2)


@pytest.mark.covers("exp:E6")
def test_the_python_of_a_container_is_the_one_it_says_itself(site: Fleet, backend: Backend) -> None:
    said = shell('docker exec app-backend python3 -c "import sys; print(sys.version)"')
    (found,) = site.findings("--include", "PY-VERSION", "--service", "app-backend")
    assert found["summary"] == f"Python {said.split()[0]}"


@pytest.mark.covers("exp:E7", "chk:D3")
def test_a_full_server_accepts_connections_by_pg_isready_and_is_critical_by_ours(site: Fleet, backend: Backend) -> None:
    def up() -> str:
        (found,) = site.findings("--include", "PG-UP", "--service", "app-db")
        return f"{found['status']} {found['summary']}"

    assert "accepting connections" in shell("docker exec app-db pg_isready -U postgres")
    assert up().startswith("ok ")
    with contextlib.ExitStack() as taken:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.enter_context(contextlib.closing(backend.connect()))
        assert "accepting connections" in shell("docker exec app-db pg_isready -U postgres")
        assert re.search(r"^crit .*(53300|too many clients|slots)", up())


@pytest.mark.covers("exp:E8")
def test_connections_by_state_are_as_many_as_psql_counts(site: Fleet, backend: Backend) -> None:
    with contextlib.closing(backend.connect()) as held:
        held.execute("SELECT 1")
        query = "SELECT count(*), state FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY state"
        theirs = {state: int(count) for count, state in psql(query)}
        ours: dict[str, int] = {}
        for row in show(site, "sessions", service="app-db"):
            ours[row["state"]] = ours.get(row["state"], 0) + row["count"]
    # Whoever counts is counted: psql as the one active session there, our reader here.
    assert ours == theirs
    assert ours["idle in transaction"] == 1


@pytest.mark.covers("exp:E9")
def test_long_queries_are_those_psql_lists_with_their_literals_gone(site: Fleet, backend: Backend) -> None:
    def sleep() -> None:
        with (
            contextlib.suppress(psycopg.Error),
            contextlib.closing(backend.connect(application_name="slow")) as session,
        ):
            session.execute("SELECT pg_sleep(4), 'marker-secret'")

    query = "SELECT pid FROM pg_stat_activity WHERE state <> 'idle' AND application_name = 'slow'"
    with running(sleep):
        until("it runs", lambda: psql(query), seconds=5, every=0.1)
        theirs = {int(pid) for (pid,) in psql(query)}
        ours = show(site, "queries", service="app-db", application="slow")
    assert {row["pid"] for row in ours} == theirs
    assert ours[0]["query"] == "SELECT pg_sleep(?), ?"
    assert 0 < ours[0]["query_age_seconds"] < 4


@pytest.mark.covers("exp:E10", "chk:D1")
def test_the_root_of_a_lock_is_named_where_the_runbooks_query_never_names_it(site: Fleet, backend: Backend) -> None:
    with chain(backend) as root:
        theirs = [(int(blocked), int(blocking)) for blocked, blocking in psql(RUNBOOKS_LOCKS.replace("\n", " "))]
        exact = psql("SELECT pid, unnest(pg_blocking_pids(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        ours = show(site, "locks", service="app-db")
    assert {(row["waiting"], row["blocked_by"]) for row in ours} == {(int(one), int(other)) for one, other in exact}
    assert {row["blocked_by"] for row in ours if row["which_is"] == "root"} == {root}
    assert ours[0]["application"] == "nightly-report"
    # A wait for a row's last writer has no relation: it pairs the waiters with each other, and misses the root.
    assert theirs
    assert root not in {blocking for _, blocking in theirs}


def df(path: str) -> dict[str, int]:
    names = ("size", "used", "available")
    fields = shell(f"df -B1 --output=size,used,avail {path}").splitlines()[1].split()
    return dict(zip(names, map(int, fields), strict=True))


def near(one: float, other: float, share: float = 0.02) -> bool:
    return abs(one - other) <= share * max(abs(one), abs(other), 1)


@pytest.mark.covers("exp:E11", "exp:E20")
def test_room_is_what_df_says_of_the_root_and_of_the_data_folder(site: Fleet, backend: Backend) -> None:
    (root,) = show(site, "disk", path="/")
    for name, value in df("/").items():
        assert near(root[f"{name}_bytes"], value), name
    inside = shell("docker exec app-db df -B1 --output=size,avail /var/lib/postgresql/data").splitlines()[1].split()
    (data,) = show(site, "disk", path="/var/lib/postgresql/data (data)")
    assert near(data["size_bytes"], int(inside[0]))
    assert near(data["available_bytes"], int(inside[1]))


def info(section: str) -> Mapping[str, str]:
    rows = shell(f"docker exec app-db redis-cli info {section}").splitlines()
    return dict(row.split(":", 1) for row in rows if ":" in row)


@pytest.mark.covers("exp:E12")
def test_no_password_and_loading_are_told_from_a_redis_that_is_down(site: Fleet, folder: Path) -> None:
    def said() -> str:
        (found,) = [item for item in site.findings("--include", "REDIS-UP") if item["name"] == "127.0.0.1:6396"]
        return f"{found['status']} {found['summary']}"

    with redis.run(folder, port=6396):
        command = "redis-cli -p 6396"
        assert said().startswith("ok ")
        shell(f"{command} debug populate 2000; {command} config set loading-process-events-interval-bytes 1024")
        shell(f"{command} config set key-load-delay 20000; {command} config set requirepass marker-secret")
        assert "NOAUTH" in shell(f"{command} ping")
        assert re.search("^skipped .*NOAUTH", said())
        shell(f"{command} -a marker-secret config set requirepass ''")
        with running(lambda: shell(f"timeout 20 {command} debug reload; true")):
            until("it loads", lambda: "LOADING" in shell(f"{command} ping; true"), seconds=5, every=0.1)
            assert re.search("^crit .*LOADING", said())
            shell(f"{command} shutdown nosave; true")


@pytest.mark.covers("exp:E12")
def test_a_redis_that_pongs_is_up(site: Fleet, backend: Backend) -> None:
    assert shell("docker exec app-db redis-cli ping").strip() == "PONG"
    (found,) = site.findings("--include", "REDIS-UP", "--service", "app-db")
    assert found["status"] == "ok"


@pytest.mark.covers("exp:E13", "exp:E14", "exp:E16")
def test_memory_clients_and_keys_are_what_info_says(site: Fleet, backend: Backend) -> None:
    shell("docker exec app-db redis-cli set plain 1; docker exec app-db redis-cli set passing 1 ex 600")
    memory, clients = info("memory"), info("clients")
    (found,) = site.findings("--include", "REDIS-MEM-NEAR-MAX", "--service", "app-db")
    metrics = {item["name"]: item["value"] for item in found["metrics"]}
    assert near(metrics["used_memory"], int(memory["used_memory"]), 0.2)
    assert near(metrics["used_memory_resident"], int(memory["used_memory_rss"]), 0.3)
    assert near(metrics["fragmentation"], metrics["used_memory_resident"] / metrics["used_memory"])
    # Each counts its own connection: redis-cli there, the agent here.
    assert sum(row["count"] for row in show(site, "clients", service="app-db")) == int(clients["connected_clients"])
    (keys,) = show(site, "keyspace", service="app-db")
    said = dict(part.split("=") for part in info("keyspace")["db0"].split(","))
    assert (keys["database"], keys["keys"], keys["expiring"]) == ("db0", int(said["keys"]), int(said["expires"]))


@pytest.mark.covers("exp:E15")
def test_slow_commands_are_those_of_the_slow_log_without_their_arguments(site: Fleet, backend: Backend) -> None:
    shell("docker exec app-db redis-cli config set slowlog-log-slower-than 0")
    shell("docker exec app-db redis-cli set session:marker-secret 1")
    shell("docker exec app-db redis-cli config set slowlog-log-slower-than 10000")
    theirs = shell("docker exec app-db redis-cli slowlog get 10")
    ours = show(site, "slowlog", service="app-db")
    assert "marker-secret" in theirs
    assert "SET session:*" in [row["command"] for row in ours]
    assert "marker-secret" not in json.dumps(ours)
    assert int(shell("docker exec app-db redis-cli slowlog len")) == len(ours)


@pytest.mark.covers("exp:E17")
def test_a_name_has_the_addresses_that_nslookup_prints(site: Fleet, folder: Path) -> None:
    asked = agents.asking(site, fleetmedic_dns=["api.lab"])
    with (
        dns_server.run({"api.lab": ("127.0.0.7", "127.0.0.8")}, host="127.0.0.53", port=53),
        dns_server.resolver(folder / "resolv.conf", ["127.0.0.53"]),
    ):
        said = shell("nslookup api.lab")
        (found,) = asked.findings("--include", "DNS-RESOLVE")
    theirs = set(re.findall(r"^Address: (\S+)$", said, re.MULTILINE))
    assert found["status"] == "ok"
    assert theirs == {"127.0.0.7", "127.0.0.8"}
    assert all(address in json.dumps(found) for address in theirs)


@pytest.mark.covers("exp:E18")
def test_certificate_dates_are_those_openssl_prints(site: Fleet, nginx: Nginx) -> None:
    place = f"127.0.0.1:{nginx.tls_port}"
    served_there = f"openssl s_client -servername shop.lab -connect {place} </dev/null 2>/dev/null"
    said = shell(f"{served_there} | openssl x509 -noout -dates")
    until_text = re.search(r"notAfter=(.*) GMT", said)
    assert until_text is not None
    theirs = time.strptime(until_text[1], "%b %d %H:%M:%S %Y")
    (served,) = [row for row in show(site, "certificates", endpoint=place) if row["place"] == "served"]
    assert time.gmtime(served["until_time"])[:6] == theirs[:6]


@pytest.mark.covers("exp:E19")
def test_containers_use_what_docker_stats_says(site: Fleet, backend: Backend) -> None:
    template = "{{.Name}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.PIDs}}"
    rows = [line.split("\t") for line in shell(f"docker stats --no-stream --format '{template}'").splitlines()]
    theirs = {name: (usage.split(" / ")[0], share, int(count)) for name, usage, share, count in rows}
    ours = {row["container"]: row for row in show(site, "containers")}
    assert theirs.keys() <= ours.keys()
    for name in ("app-db", "app-backend"):
        usage, share, count = theirs[name]
        assert near(ours[name]["memory_bytes"], _bytes(usage), 0.25)
        # Docker calls threads PIDs.
        assert sum(row["threads"] for row in show(site, "processes", container=name)) == count
    assert abs(ours["app-backend"]["of_limit_percent"] - float(theirs["app-backend"][1].rstrip("%"))) < 3


def _bytes(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(\w+)", text)
    assert found is not None
    return float(found[1]) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[found[2]]


@pytest.mark.covers("exp:E21")
def test_a_dependency_fails_where_curl_fails(site: Fleet, webapp: WebApp) -> None:
    for path, code, status in (("/health/live", 0, "ok"), ("/nowhere", 22, "crit")):
        shell(f"curl -sf {webapp.url}{path}", code)
        asked = agents.asking(site, fleetmedic_dependencies={"external": f"{webapp.url}{path}"})
        found = [item["status"] for item in asked.findings("--include", "DEP-HTTP") if item["service"] == "external"]
        assert found == [status]
