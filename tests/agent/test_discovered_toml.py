"""What was discovered, written down: an agent takes it as it is, whatever the things found are called."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import config, discovered_toml
from fleetmedic.v1.snapshot_pb2 import Target

FOUND = (
    Target(probe="docker", service="docker", socket="/var/run/docker.sock", origin="discovered"),
    Target(probe="postgres", service="postgres", socket="/run/postgresql", port=5433, origin="discovered"),
    Target(probe="redis", service="redis", host="127.0.0.1", port=6379, origin="discovered"),
    Target(probe="tls", service="tls", host="::1", port=443, origin="discovered"),
    # These stay to be discovered, or are no targets of an agent.toml.
    Target(probe="redis", service="cache", host="127.0.0.1", port=6379, join_network=True, origin="discovered"),
    Target(probe="memory", service="host", name="memory", origin="discovered"),
    Target(probe="redis", service="named", host="10.0.0.9", port=6379, origin="agent.toml:4"),
)


@pytest.mark.covers("sec:install")
def test_an_agent_takes_what_was_written_down(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('name = "db01"\n\n' + discovered_toml.render(FOUND))
    made = config.load(file, (), {"HOME": "/home/u"})
    assert made.docker_socket == "/var/run/docker.sock"
    assert [(it.socket, it.port, it.service) for it in made.postgres] == [("/run/postgresql", 5433, "postgres")]
    assert [(it.host, it.port) for it in made.redis] == [("127.0.0.1", 6379)]
    assert [(it.host, it.port) for it in made.tls_endpoints] == [("::1", 443)]


@pytest.mark.covers("sec:install")
def test_it_is_the_same_in_any_order() -> None:
    assert discovered_toml.render(FOUND) == discovered_toml.render(reversed(FOUND))


@pytest.mark.covers("sec:install")
@settings(database=None)
@given(
    st.text(st.characters(codec="utf-8"), max_size=40), st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
)
def test_no_name_breaks_out_of_its_place(service: str, socket: str) -> None:
    found = Target(probe="redis", service=service, socket=socket, origin="discovered")
    assert tomllib.loads(discovered_toml.render([found])) == {"redis": [{"service": service, "socket": socket}]}
