"""Troubles for a lab host: real servers and an engine of its own, each with a fault that an agent there must see.

All of it runs on the host itself, below its systemd; only the sessions of PostgreSQL are held from here.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import docker.errors
import psycopg

from tests.lab import authority as certificates
from tests.lab import dockerd, images, requirements
from tests.lab.dockerd import Engine
from tests.lab.hosts import LabHost
from tests.lab.waiting import until

HERE = Path(__file__).parent
# On the host: what makes a mount hang.
HANGING = "/opt/lab/hung_mount.py"
MOUNTS = {HERE.parent / "lab" / "hung_mount.py": f"{HANGING}:ro"}
SERVICE = "[Unit]\nDescription={name} of the lab\n[Service]\nType=exec\n"
MOST_CONNECTIONS = 14

POSTGRES = """\
User=postgres
RuntimeDirectory=postgresql
StateDirectory=lab-postgres
ExecStartPre={binaries}/initdb -D /var/lib/lab-postgres/data --auth=trust --no-sync --wal-segsize=1 --encoding=UTF8
ExecStartPre=cp /etc/lab/pg_hba.conf /var/lib/lab-postgres/data/pg_hba.conf
ExecStart={binaries}/postgres -D /var/lib/lab-postgres/data -c listen_addresses= -c fsync=off \\
    -c unix_socket_directories=/run/postgresql -c max_connections={most}
"""
# The agent must be seen as the server's own user to get in; a full server is filled by the others.
HBA = "local all postgres peer\nlocal all all trust\n"
# One on a port, full and unable to save; one with nothing but a socket that is closed to others.
REDIS = """\
User=redis
StateDirectory=lab-redis
ExecStart=/usr/bin/redis-server --bind {address} --port 6379 --save "" --dir /var/lib/lab-redis --maxmemory 2mb \\
    --enable-debug-command yes --enable-protected-configs yes
"""
SOCKET_REDIS = """\
User=redis
RuntimeDirectory=lab-carts
RuntimeDirectoryMode=0700
PrivateTmp=yes
ExecStart=/usr/bin/redis-server --port 0 --save "" --unixsocket /run/lab-carts/redis.sock --unixsocketperm 700
"""
NGINX = "ExecStart=/usr/sbin/nginx -g 'daemon off;' -c /etc/lab/nginx.conf\n"
NGINX_CONF = """\
user www-data;
pid /run/lab-nginx.pid;
error_log /var/log/lab-nginx.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path /var/tmp/body;
    proxy_temp_path /var/tmp/proxy;
    fastcgi_temp_path /var/tmp/fastcgi;
    uwsgi_temp_path /var/tmp/uwsgi;
    scgi_temp_path /var/tmp/scgi;
    server {{
        listen {address}:80;
        listen {address}:443 ssl;
        ssl_certificate /etc/lab/served.crt;
        ssl_certificate_key /etc/lab/served.key;
        location = / {{ default_type text/html; return 200 '<script src="/gone.js"></script>'; }}
        location = /ready {{ return 503; }}
        location / {{ return 404; }}
    }}
}}
"""
# One of two workers will be dead.
PYTHON = """\
User=www-data
Environment=PYTHONPATH=/opt/lab/libraries
ExecStart=/opt/fleetmedic/current/bin/python -m uvicorn --app-dir /etc/lab --workers 2 --lifespan off \\
    --uds /run/lab-app/app.sock orders:app
RuntimeDirectory=lab-app
"""
APP = "async def app(scope, receive, send):\n    pass\n"
# Where nobody would look but for the flag.
ENGINE_SOCKET = "/run/lab-engine.sock"
ENGINE = f"Delegate=yes\nKillMode=process\nExecStart={{dockerd}} --host unix://{ENGINE_SOCKET} {{flags}}\n"
HUNG = f"ExecStart=/usr/bin/python3 {HANGING} /srv/hung\n"
CONFIG = """\
mounts = ["/srv/small", "/srv/hung"]

[sampler]
seconds = 2

[docker]
expected = ["orders-app"]

[[http]]
service = "shop"
url = "http://{address}:80/ready"

[[page]]
service = "shop"
url = "http://{address}:80/"

[[dependency]]
service = "mail"
address = "{address}:9"

[[dependency]]
service = "payments"
url = "http://{address}:80/health"

[[dns]]
service = "shop"
name = "nowhere.lab"

[[tls_endpoint]]
service = "shop"
address = "{address}:443"
server_name = "shop.lab"
certificate = "/etc/lab/other.crt"
key = "/etc/lab/served.key"

[limits."PG-IDLE-TXN"]
warn_seconds = 0.5

[limits."PG-LONG-TXN"]
warn_seconds = 0.5

[limits."PG-LONG-QUERY"]
list_seconds = 0.5
warn_seconds = 0.5

[limits."PG-LOCK-ROOT"]
warn_seconds = 0.5
crit_seconds = 3600
"""
LIMITED: dict[str, Any] = {"mem_limit": "24m", "memswap_limit": "24m"}
CONTAINERS: dict[str, tuple[Sequence[str], dict[str, Any]]] = {
    "ended": (["sh", "-c", "exit 3"], {"restart_policy": {"Name": "on-failure", "MaximumRetryCount": 1}}),
    "looping": (["false"], {"restart_policy": {"Name": "always"}}),
    "paused": (["sleep", "600"], {}),
    "ill": (["sleep", "600"], {"healthcheck": {"test": ["CMD", "false"], "interval": 2 * 10**9, "retries": 1}}),
    # Not before containerd listens for it.
    "killed": (["sh", "-c", "sleep 1; exec tail /dev/zero"], LIMITED),
    "child-killed": (["sh", "-c", "tail /dev/zero; sleep 600"], LIMITED),
    "zombies": (["sh", "-c", "sleep 0.1 & exec sleep 600"], {}),
    "broken": (["no-such-program"], {}),
    "talking": (["sh", "-c", "for i in 1 2 3; do echo '\"GET /orders HTTP/1.1\" 500 9'; done; sleep 600"], {}),
}


@dataclass(frozen=True)
class Troubled:
    """A host in trouble, and its own engine."""

    host: LabHost
    engine: Engine
    sockets: str

    def session(self, role: str) -> "psycopg.Connection[Any]":
        return psycopg.connect(host=self.sockets, user=role, dbname="postgres", autocommit=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Take every connection that is left, the superusers' too."""
        with contextlib.ExitStack() as stack:
            for role in ("app", "boss"):
                with contextlib.suppress(psycopg.OperationalError):
                    while True:
                        stack.enter_context(contextlib.closing(self.session(role)))
            yield


@contextlib.contextmanager
def run(host: LabHost, folder: Path) -> Iterator[Troubled]:
    """Start all of it, and hold the faults until the block ends; `folder` is for files on the way."""
    binaries = requirements.required("/usr/lib/postgresql/*/bin/initdb").parent
    flags = " ".join(dockerd.FLAGS)
    units = {
        "lab-postgres": POSTGRES.format(binaries=binaries, most=MOST_CONNECTIONS),
        "lab-redis": REDIS.format(address=host.address),
        "lab-carts": SOCKET_REDIS,
        "lab-nginx": NGINX,
        "lab-app": PYTHON,
        "lab-docker": ENGINE.format(dockerd=requirements.required("dockerd"), flags=flags),
        "lab-hung": HUNG,
    }
    host.put({f"/etc/systemd/system/{name}.service": SERVICE.format(name=name) + unit for name, unit in units.items()})
    host.put({"/etc/lab/pg_hba.conf": HBA, "/etc/lab/nginx.conf": NGINX_CONF.format(address=host.address)})
    host.put({"/etc/lab/orders.py": APP})
    _certificates(host, folder)
    for place in ("/srv/small", "/srv/hung"):
        host.run("mkdir", place)
    host.run("mount", "-t", "tmpfs", "-o", "size=1m", "small", "/srv/small")
    host.tried("sh", "-c", "head -c 2m /dev/zero > /srv/small/full")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", *units)
    host.container.reload()
    root = Path(f"/proc/{host.container.attrs['State']['Pid']}/root")
    sockets = f"{root}/run/postgresql"
    until("postgres", lambda: Path(sockets, ".s.PGSQL.5432").is_socket(), seconds=20.0)
    _fill_redis(host)
    _kill_worker(host)
    with _engine(root) as engine, contextlib.ExitStack() as stack:
        _containers(engine)
        made = Troubled(host, engine, sockets)
        stack.enter_context(_blocked(made))
        yield made


def _certificates(host: LabHost, folder: Path) -> None:
    """Serve one that is out of date and nobody's; have agent.toml name another, whose key this is not."""
    day = timedelta(days=1)
    now = datetime.fromtimestamp(time.time(), UTC)
    served = certificates.self_signed(now - 40 * day, "shop.lab", dns=["shop.lab"]).write(folder, "served")
    other = certificates.self_signed(now, "shop.lab", dns=["shop.lab"]).write(folder, "other")
    host.put({f"/etc/lab/{file.name}": file.read_bytes() for file in (served.certificate, other.certificate)})
    host.put({"/etc/lab/served.key": served.key.read_bytes()}, 0o600)


def _fill_redis(host: LabHost) -> None:
    ask = ("redis-cli", "-h", host.address)
    until("redis", lambda: host.tried(*ask, "ping").out == "PONG\n", seconds=20.0)
    host.run(*ask, "DEBUG", "POPULATE", "20000", "k", "100")
    host.run(*ask, "DEBUG", "SLEEP", "0.2")
    host.run("sh", "-c", f"mkdir /var/lib/lab-redis/dump.rdb; redis-cli -h {host.address} BGSAVE")


def _kill_worker(host: LabHost) -> None:
    """Leave a master that is stopped, and so does not start another."""
    master = host.run("systemctl", "show", "--value", "--property=MainPID", "lab-app").strip()
    ask = ("pgrep", "--parent", master, "--full", "multiprocessing.spawn")
    until("two workers", lambda: len(host.tried(*ask).out.split()) == 2, seconds=30.0, every=0.2)
    host.run("kill", "-STOP", master)
    host.run("kill", "-KILL", host.run(*ask).split()[0])


@contextlib.contextmanager
def _engine(root: Path) -> Iterator[Engine]:
    """The host's own engine, by its socket as it is reached from here."""
    socket = root / ENGINE_SOCKET.lstrip("/")
    until("engine", lambda: dockerd.answers(socket), seconds=20.0)
    client = docker.DockerClient(base_url=f"unix://{socket}", timeout=30)
    try:
        yield Engine(socket, 0, 0, client, Path("/var/lib/docker"), Path("/dev/null"))
    finally:
        # A paused process takes no SIGKILL: the host that holds it could not be ended.
        for left in client.containers.list(all=True, filters={"status": "paused"}):
            left.unpause()
        client.close()


def _containers(engine: Engine) -> None:
    images.host_bind(engine)
    volumes = ["/usr:/usr:ro"]
    for name, (command, more) in CONTAINERS.items():
        container = engine.client.containers.create(
            images.HOST_BIND, list(command), name=name, network_mode="none", volumes=volumes, **more
        )
        with contextlib.suppress(docker.errors.APIError):
            container.start()
    engine.client.containers.get("paused").pause()
    script = images.DATABASES.format(binaries=requirements.required("/usr/lib/postgresql/*/bin/initdb").parent)
    inner = engine.client.containers.run(
        images.HOST_BIND, ["sh", "-c", script], name="databases", network_mode="none", volumes=volumes, detach=True
    )
    ask = ["psql", "-h", "/run/postgresql", "-U", "postgres", "-Atc", "SELECT 1"]
    until("databases", lambda: inner.exec_run(ask).output == b"1\n", seconds=30.0)
    until("killed", lambda: engine.client.api.inspect_container("killed")["State"]["OOMKilled"], seconds=20.0)


@contextlib.contextmanager
def _blocked(troubled: Troubled) -> Iterator[None]:
    """Hold a lock in a transaction, with another session waiting for it and a third that sleeps."""
    troubled.host.run(
        *("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "psql", "-h", "/run/postgresql"),
        *("-v", "ON_ERROR_STOP=1", "-c", "CREATE ROLE app LOGIN", "-c", "CREATE ROLE boss LOGIN SUPERUSER"),
        *("-c", "CREATE TABLE orders AS SELECT 1 AS id", "-c", "ALTER TABLE orders OWNER TO app"),
    )
    with (
        contextlib.closing(troubled.session("app")) as holder,
        contextlib.closing(troubled.session("app")) as waiter,
        contextlib.closing(troubled.session("app")) as sleeper,
    ):
        holder.execute("BEGIN")
        holder.execute("UPDATE orders SET id = 2")
        for session, query in ((waiter, b"UPDATE orders SET id = 3"), (sleeper, b"SELECT pg_sleep(600)")):
            session.pgconn.send_query(query)
        yield
        for session in (waiter, sleeper):
            session.cancel_safe(timeout=5.0)
