"""No name in agent.toml or in a request is a path, a command, SQL or invisible: 200 names for each field there is."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent import allowed, check, config, registry
from agent.check import BadRequest, Medic
from agent.config import Config
from agent.toml_reader import ConfigError
from fleetmedic.v1.agent_pb2 import CheckRequest, Identity
from fleetmedic.v1.snapshot_pb2 import Target
from tests.hostile_names import NAMES

RULES = registry.load()
LOGIN = '[[{}]]\nhost = "127.0.0.1"\n{} = NAME\n'
# By field: where NAME stands.
FILES: Mapping[str, str] = {
    "the agent": "name = NAME\n",
    "the front's user": "front_user = NAME\n",
    "a PostgreSQL's service": LOGIN.format("postgres", "service"),
    "a PostgreSQL's user": LOGIN.format("postgres", "user"),
    "a Redis' service": LOGIN.format("redis", "service"),
    "a Redis' user": LOGIN.format("redis", "user"),
    "a URL's service": '[[http]]\nurl = "http://127.0.0.1/"\nservice = NAME\n',
    "a page's service": '[[page]]\nurl = "http://127.0.0.1/"\nservice = NAME\n',
    "a name's service": '[[dns]]\nname = "web01"\nservice = NAME\n',
    "a TLS endpoint's service": '[[tls_endpoint]]\naddress = "127.0.0.1:443"\nservice = NAME\n',
    "a dependency's service": '[[dependency]]\naddress = "127.0.0.1:443"\nservice = NAME\n',
    "a container": "[docker]\nexpected = [NAME]\n",
    "a rule": "[limits.NAME]\nwarn = 1\n",
    "a limit": "[limits.PG-IDLE-TXN]\nNAME = 1\n",
    "a key": "NAME = 1\n",
    "a listening address": "listen = NAME\n",
    "a key's file": '[tls]\ncertificate = "a"\nclient_ca = "a"\nkey = NAME\n',
    "a password's file": LOGIN.format("postgres", "password_file"),
}  # fmt: skip
# Paths are a host's owner's to choose, but for what can't be one; a login may have a dollar sign, as PostgreSQL's may.
TAKEN: Mapping[str, str] = {
    "a PostgreSQL's user": r"[a-z0-9]+\$[A-Z]+b?",
    "a Redis' user": r"[a-z0-9]+\$[A-Z]+b?",
    "a key's file": r"[\x20-\x7e]+",
}


def load(file: Path, name: str, text: str) -> Config:
    # JSON's escapes are TOML's, and its surrogates too are none here.
    file.write_text(text.replace("NAME", json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")))
    return config.load(file, RULES, {})


@pytest.mark.covers("sec:B4")
@pytest.mark.parametrize("field", sorted(FILES))
def test_no_hostile_name_of_agent_toml_is_taken(tmp_path: Path, field: str) -> None:
    taken, said = [], []
    for name in NAMES:
        try:
            load(tmp_path / "agent.toml", name, FILES[field])
        except ConfigError as refusal:
            said.append(str(refusal))
        else:
            taken.append(name)
    assert [name for name in taken if not re.fullmatch(TAKEN.get(field, ""), name)] == []
    assert [each for each in said if not each.isprintable()] == []
    assert [file.name for file in tmp_path.iterdir()] == ["agent.toml"]


@pytest.mark.covers("sec:B4")
@pytest.mark.parametrize("key", ["state", "run", "trust", "audit"])
def test_a_folder_of_the_agent_s_own_has_no_invisible_sign(tmp_path: Path, key: str) -> None:
    for name in NAMES:
        if not name.isprintable():
            with pytest.raises(ConfigError, match="holds a control or invisible character"):
                load(tmp_path / "agent.toml", name, f"{key} = NAME\n")


@pytest.mark.covers("sec:B4")
def test_every_text_in_the_file_is_looked_at() -> None:
    """Hold the list above against the code: a new field with a name in it wants a row there."""
    fields = {key for text in FILES.values() for key in re.findall(r"(\w+) = \[?NAME", text)}
    assert fields == {"name", "front_user", "service", "user", "expected", "listen", "key", "password_file"}
    assert tomllib.loads('x = "\\u202e"')["x"] == "\u202e"


@pytest.mark.covers("sec:B4")
@pytest.mark.parametrize("field", ["include", "exclude", "probes", "services"])
def test_no_hostile_name_of_a_request_is_taken(tmp_path: Path, field: str) -> None:
    medic = Medic(Identity(), Config(None, "web01", tmp_path / "state", tmp_path / "run"), RULES)
    taken = []
    for name in NAMES:
        request = CheckRequest()
        getattr(request, field).append(name)
        try:
            next(check.check(medic, request, 0.0))
        except BadRequest:
            continue
        taken.append(name)
    # A pattern that fits every check is one.
    assert [name for name in taken if field in ("probes", "services") or name.strip("*")] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.covers("sec:B4", "sec:probe_allow")
def test_no_target_of_a_hostile_name_is_looked_at_even_where_everything_is_allowed() -> None:
    everywhere = ("*", "0.0.0.0/0", "::/0")
    for name in NAMES:
        for target in (
            Target(probe="http", service=name, name="x", url="http://web01/"),
            Target(probe="http", service="web", name=name, url="http://web01/"),
            Target(probe="http", service="web", name="x", url=f"http://{name}/"),
            Target(probe="tls", service="web", name="x", host=name, port=443),
            Target(probe="dns", service="web", name="x", host=name),
            Target(probe=name, service="web", name="x", host="web01"),
        ):
            taken, refused = allowed.refuse_outside(everywhere, [target])
            assert len(taken) + len(refused) == 1
            for each in taken:
                # Printable ASCII without blanks: a resolver or a URL's parser may refuse it, and no shell ever sees it.
                assert re.fullmatch(r"[!-~]+", f"{each.service}{each.name}{each.url}{each.host}")
                assert each.probe == target.probe
                assert not each.socket
                assert not each.pid
