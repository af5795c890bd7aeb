"""The variables of a service: `fleetmedic_<service>_<suffix>`, flat, for Ansible replaces a mapping as a whole."""

import re
from dataclasses import dataclass

PREFIX = "fleetmedic_"


@dataclass(frozen=True, slots=True)
class Field:
    """One variable of a service: what it takes, an example of it as YAML, and what it is for."""

    suffix: str
    takes: str
    example: str
    about: str


OF_SERVICE = (
    Field(
        "http", "URL, or a list", "http://127.0.0.1:8000/health/ready", "a health address, asked by the host's agent"
    ),
    Field(
        "page", "URL, or a list", "http://127.0.0.1:8080/", "a front page, with every script and stylesheet it names"
    ),
    Field("dependency", "URL or host:port, or a list", "mail.example.net:25", "what the service needs elsewhere"),
    Field("tls", "host:port, or a list", "orders.example.net:443", "a TLS listener, whose certificate is judged"),
    Field("dns", "name, or a list", "db.example.net", "a name that must resolve on the host"),
    Field(
        "containers", "name, or a list", "[orders-app, orders-worker]", "containers or compose services that must run"
    ),
    Field("postgres", "host:port, or a socket or its folder", "/run/postgresql", "the PostgreSQL of the service"),
    Field("postgres_user", "name", "fleetmedic", "whom the agent logs in as there"),
    Field("postgres_dbname", "name", "postgres", "the database it logs in to"),
    Field("postgres_password_file", "path", "/etc/fleetmedic/postgres-password", "a file on the host, mode 0600"),
    Field("redis", "host:port, or a socket", "127.0.0.1:6379", "the Redis of the service"),
    Field("redis_user", "name", "fleetmedic", "whom the agent logs in as there"),
    Field("redis_password_file", "path", "/etc/fleetmedic/redis-password", "a file on the host, mode 0600"),
    Field("redis_tls", "true or false", "true", "whether that Redis speaks TLS"),
    Field(
        "may_restart", "name, or a list", "[orders-app]", "containers that `mitigate` may restart, start and unpause"
    ),
    Field("stateful", "name, or a list", "[orders-queue]", "of these those that hold data: they are not restarted"),
    Field("may_end_sessions", "true or false", "true", "whether `mitigate` may end sessions of its PostgreSQL"),
    Field("may_flush", "pattern, or a list", '"cache:*"', "keys of its Redis that `mitigate` may delete"),
    Field("links", "title: URL", "{Dashboard: https://grafana.example.net/d/orders}", "printed under bad findings"),
    Field("previous", "quoted version", '"1a2b3c4"', "the version to roll back to"),
    Field("current", "quoted version", '"9f8e7d6"', "the version that is meant to run"),
)
"""What is read today. The versions are checked and otherwise wait for the rollback."""

OF_ROLLBACK = frozenset(
    {
        *("driver", "scope", "runner", "rollback_cmd", "version_cmd", "version_url", "version_pointer", "gate"),
        *("container", "image", "irreversible_before"),
    }
)
"""Suffixes that a later version reads."""

SUFFIXES = frozenset(field.suffix for field in OF_SERVICE) | OF_ROLLBACK

OF_HOST = (
    Field("address", "address", "10.0.0.11", "where the agent is dialled, before ansible_host"),
    Field("port", "number", "7443", "the agent's port; ansible_port is SSH's"),
    Field("listen", "address", "10.0.0.11", "the one address the agent listens on; not set: all of the host's"),
    Field("services", "list of names", "[orders, orders-db]", "the services on the host"),
    Field("limits", "rule: {limit: number}", "{PG-IDLE-TXN: {warn_seconds: 30}}", "limits that differ here"),
    Field("http", "service: URL", "{orders: http://127.0.0.1:8000/ready}", "asked now, where the agent allows it"),
    Field("tls", "service: host:port", "{orders: orders.example.net:443}", "asked now, where the agent allows it"),
    Field("dns", "names", "[db.example.net]", "asked now, where the agent allows it"),
    Field("pages", "service: URL", "{shop: http://127.0.0.1:8080/}", "asked now, where the agent allows it"),
    Field("dependencies", "service: address", "{mail: mail.example.net:25}", "asked now, where the agent allows it"),
    Field("canary", "true or false", "true", "for the rollback, which a later version brings"),
    Field("maintenance", "true or false", "true", "for commands that change hosts, which a later version brings"),
)

_ODD = re.compile(r"[-.]")


def variable(service: str, suffix: str) -> str:
    """The name of a service's variable: `-` and `.` of the service are `_` in it."""
    return f"{PREFIX}{_ODD.sub('_', service)}_{suffix}"
