"""No field that takes a name takes one that is a path, a command, SQL or invisible: 200 names for every field there is.

A field that takes any text (a reason, an owner, a title) keeps it as text. Either way no file appears outside, nothing
is run, and the store stands.
"""

import contextlib
import datetime
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click.testing
import pytest

from controller.cli import kept, report, runs, snooze
from controller.inventory import connection, requests
from controller.inventory.draft import Draft
from controller.inventory.loading import load
from controller.inventory.origins import InventoryError
from controller.inventory.services.agent_toml import render
from controller.inventory.sources import script_answer
from controller.render import tree
from controller.reports import gathering
from controller.store import database, snoozes
from controller.store import runs as stored
from controller.store.snoozes import About, Snooze
from controller.trust import authority, bastion, holders, register
from controller.trust.files import TrustError
from fleetmedic.v1.finding_pb2 import STATUS_CRIT
from tests.controller import reports
from tests.controller.reports import NOW
from tests.hostile_names import NAMES

AT = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
Use = Callable[[Path, str], object]


def _in(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def yaml_host(folder: Path, name: str) -> object:
    return load([_in(folder, "in.yml", json.dumps({"all": {"hosts": {name: None}}}))])


def yaml_group(folder: Path, name: str) -> object:
    return load([_in(folder, "in.yml", json.dumps({"all": {"children": {name: {"hosts": {"web01": None}}}}}))])


def toml_host(folder: Path, name: str) -> object:
    return load([_in(folder, "in.toml", f"[web.hosts]\n{json.dumps(name)} = {{}}\n")])


def toml_group(folder: Path, name: str) -> object:
    return load([_in(folder, "in.toml", f"[{json.dumps(name)}.hosts]\nweb01 = {{}}\n")])


def of_host(folder: Path, **variables: object) -> object:
    return load([_in(folder, "in.yml", json.dumps({"all": {"hosts": {"web01": variables}}}))]).host("web01")


def variable(field: str, read: Callable[..., object], value: Callable[[str], object], **more: object) -> Use:
    return lambda folder, name: read(of_host(folder, **{field: value(name)}, **more))


def of_orders(suffix: str, value: Callable[[str], object]) -> Use:
    """A variable of a service that has a PostgreSQL."""
    more = {"fleetmedic_services": ["orders"], "fleetmedic_orders_postgres": "127.0.0.1:5432"}
    return variable(f"fleetmedic_orders_{suffix}", render, value, **more)


def pki_folder(folder: Path) -> Path:
    return folder / "pki"


# By field; each use must raise for every name.
REFUSED: Mapping[str, Use] = {
    "a host of a YAML inventory": yaml_host,
    "a group of a YAML inventory": yaml_group,
    "a host of a TOML inventory": toml_host,
    "a group of a TOML inventory": toml_group,
    "a host's address": variable("fleetmedic_address", connection.endpoint, str),
    "a service of a host": variable("fleetmedic_services", requests.services, lambda name: [name]),
    "a service of a URL": variable("fleetmedic_http", requests.targets, lambda name: {name: "http://web01/"}),
    "a service of a page": variable("fleetmedic_pages", requests.targets, lambda name: {name: "http://web01/"}),
    "a service of a TLS endpoint": variable("fleetmedic_tls", requests.targets, lambda name: {name: "web01:443"}),
    "a service of a dependency": variable("fleetmedic_dependencies", requests.targets, lambda name: {name: "a:1"}),
    "a name to resolve": variable("fleetmedic_dns", requests.targets, lambda name: [name]),
    "a host of a TLS endpoint": variable("fleetmedic_tls", requests.targets, lambda name: [f"{name}:443"]),
    "a host of a dependency": variable("fleetmedic_dependencies", requests.targets, lambda name: [f"{name}:443"]),
    "a rule of a limit": variable("fleetmedic_limits", requests.limits, lambda name: {name: {"warn": 1}}),
    "a limit": variable("fleetmedic_limits", requests.limits, lambda name: {"PG-UP": {name: 1}}),
    "a container": of_orders("containers", lambda name: [name]),
    "a login": of_orders("postgres_user", str),
    "a database": of_orders("postgres_dbname", str),
    "a version": of_orders("current", str),
    "an organisation": lambda folder, name: authority.initialise(folder / "new", name, AT),
    "an agent's certificate": lambda folder, name: authority.issue_agent(pki_folder(folder), folder / "out", name, AT),
    "an operator's certificate": lambda folder, name: authority.issue_operator(
        pki_folder(folder), folder / "out", name, "observer", AT
    ),
    "a role": lambda folder, name: authority.issue_operator(pki_folder(folder), folder / "out", "alice", name, AT),
    "a request signed for a host": lambda folder, name: authority.sign_agent(pki_folder(folder), b"", name, AT),
    "a request signed for a user": lambda folder, name: authority.sign_operator(
        pki_folder(folder), b"", name, "observer", AT
    ),
    "a certificate that is looked for": lambda folder, name: holders.find(
        holders.held(register.read(pki_folder(folder)), AT), name
    ),
    "a bastion": lambda folder, name: bastion.place(name, "here"),
    "a bastion's user": lambda folder, name: bastion.place(f"{name}@bastion", "here"),
    "what a desk asks a bastion": lambda folder, name: bastion.allowed(name, "alice", "admin"),
    "the role a desk asks for": lambda folder, name: bastion.allowed(f"{bastion.WORD} {name}", "alice", "admin"),
    "a run": lambda folder, name: kept.run(database.connect(folder / "controller.db"), name),
}  # fmt: skip
# What a field takes all the same, and why that does no harm: no shell, path or query is made of it.
INSIDE = r"[A-Za-z0-9_.][A-Za-z0-9_.~@-]*"
TAKEN: Mapping[str, str] = {
    **{field: INSIDE for field in REFUSED if "inventory" in field or "a host" in field or field == "a name to resolve"},
    "a bastion": r"[A-Za-z0-9]+@[a-z]+",  # its user and its host
    "a login": r"[a-z0-9]+\$[A-Za-z]+",  # PostgreSQL's names may have it; it goes as a parameter
    "a database": r"[a-z0-9]+\$[A-Za-z]+",
    "a version": r"[a-z0-9][a-z0-9@./-]*",  # an image's name; it is compared
}
# What these raise is told as one line and an exit code of its kind.
OURS = (InventoryError, TrustError)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with authorities and a store in it, alone in another, which nothing may leave."""
    folder = tmp_path / "alone" / "desk"
    folder.mkdir(parents=True)
    authority.initialise(pki_folder(folder), "lab", AT)
    base = database.connect(folder / "controller.db")
    stored.save(base, reports.run(reports.answered("web01", reports.finding("A-B", STATUS_CRIT))), "alice", NOW)
    base.close()
    before = {file for file in tmp_path.rglob("*") if file.parent != pki_folder(folder)}
    with contextlib.chdir(folder):
        yield folder
    after = {file for file in tmp_path.rglob("*") if file.parent != pki_folder(folder)}
    allowed = {
        folder / name
        for name in ("in.yml", "in.toml", "in.ini", "made", *(f"controller.db{end}" for end in ("-wal", "-shm")))
    }
    assert {file for file in after - before if folder / "made" not in file.parents} <= allowed
    with contextlib.closing(sqlite3.connect(folder / "controller.db")) as base:
        assert base.execute("SELECT count(*) FROM runs").fetchone() == (1,)


@pytest.mark.covers("sec:B4")
@pytest.mark.parametrize("field", sorted(REFUSED))
def test_no_hostile_name_is_taken(place: Path, field: str) -> None:
    taken, said = [], []
    for name in NAMES:
        try:
            REFUSED[field](place, name)
        except OURS as refusal:
            said.append(str(refusal))
        else:
            taken.append(name)
    assert [each for each in said if not each.isprintable()] == []
    assert [name for name in taken if not re.fullmatch(TAKEN.get(field, ""), name)] == []


@pytest.mark.covers("sec:B4")
@pytest.mark.parametrize("text", ["{} x=1\n", "[{}]\nweb01\n", "[web:children]\n{}\n[{}]\nweb01\n", None])
def test_a_line_of_ini_or_a_host_list_makes_no_hostile_name_of_its_parts(place: Path, text: str | None) -> None:
    """There a blank, a comma or a line's end makes several words of one name: each is a safe one, or all is refused."""
    for name in NAMES:
        source = f"{name}," if text is None else _in(place, "in.ini", text.replace("{}", name))
        try:
            inventory = load([source])
        except InventoryError as refusal:
            assert str(refusal).isprintable()  # noqa: PT017 - both ways are right
            continue
        for each in (*inventory.hosts, *inventory.groups):
            assert re.fullmatch(INSIDE, each), (name, each)


@pytest.mark.covers("sec:B4")
def test_a_script_s_answer_makes_no_hostile_host_or_group(place: Path) -> None:
    for name in NAMES:
        for answer in ({"web": {"hosts": [name]}}, {name: {"hosts": ["web01"]}}, {"web": {"children": [name]}}):
            draft = Draft()
            with contextlib.suppress(InventoryError):
                script_answer.take(answer, "script", draft, lambda _: {})
                assert all(re.fullmatch(INSIDE, each) for each in (*draft.hosts, *draft.groups)), name


@pytest.mark.covers("sec:B4")
def test_every_host_has_a_file_of_its_own_in_the_output_folder_whatever_its_name(place: Path) -> None:
    for name in NAMES:
        file = place / "made" / tree.file_name(name)
        assert file.resolve().parent == (place / "made").resolve()
        assert re.fullmatch(r"[A-Za-z0-9._%-]+", file.name)
        assert not file.name.startswith((".", "-"))
    assert len({tree.file_name(name) for name in NAMES}) == len(NAMES)


@pytest.mark.covers("sec:B4")
def test_a_report_s_files_stay_in_their_folder_whatever_its_title(place: Path) -> None:
    for name in NAMES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", gathering.slug(name))
    for name in NAMES[::20]:
        words = ["--title", f"T{name}", "--severity", "3", "--output-dir", "made", "--store", "controller.db"]
        done = click.testing.CliRunner().invoke(report.command, words, standalone_mode=False)
        assert done.exception is None, done.exception
    assert {file.suffix for file in (place / "made").iterdir()} == {".md", ".json"}


@pytest.mark.covers("sec:B4")
def test_a_run_host_snooze_or_finding_of_no_such_name_is_refused_in_one_line(place: Path) -> None:
    store = ["--store", str(place / "controller.db")]
    for name in NAMES:
        for command, words in (
            (runs.command, ["show", "7F3K", "--host", name]),
            (snooze.command, ["end", "--", name]),
            (snooze.command, ["add", "--reason", "x", "--for", "2h", "--", f"x{name}"]),
        ):
            words = [words[0], *store, *words[1:]]
            done = click.testing.CliRunner().invoke(command, words, standalone_mode=False)
            assert isinstance(done.exception, InventoryError), (words, done.exception)


@pytest.mark.covers("sec:B4")
def test_an_owner_a_reason_and_a_subject_are_kept_as_text_and_shown_inert(place: Path) -> None:
    with contextlib.closing(database.connect(place / "controller.db")) as base:
        for number, name in enumerate(NAMES):
            about = (About("web01", "s", "host", name, STATUS_CRIT),)
            snoozes.add(base, Snooze(f"S{number}", "A-B", name, name, name, NOW, NOW + 60, about))
            stored.save(base, reports.run(identity=f"R{number}", inventory=name), name, NOW)
        kept_names = {(item.subject, item.reason, item.actor) for item in snoozes.every(base)}
        assert kept_names == {(name, name, name) for name in NAMES}
        base.execute("DELETE FROM runs WHERE id <> '7F3K'")
    for words in (["list", "--all"], ["list", "--all", "--format", "json"]):
        done = click.testing.CliRunner().invoke(snooze.command, [*words, "--store", "controller.db"])
        assert done.exit_code == 0
        assert done.stdout.replace("\n", "").isprintable()
