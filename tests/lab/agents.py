"""Starts real agents, front and worker, with mutual TLS on loopback, and runs the installed commands against them."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab import child, requirements
from tests.lab.waiting import until

BIN = Path(sys.executable).parent
ORG = "lab"
OPERATOR = "alice"


@dataclass(frozen=True)
class Command:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.out)
        return made


@dataclass(frozen=True)
class Desk:
    """A responder's desk: certificates and a state folder of its own; `run` calls the installed fleetmedic."""

    folder: Path

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": requirements.SEARCH,
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "FLEETMEDIC_CERTIFICATE": str(self.pki / f"{OPERATOR}.crt"),
            "FLEETMEDIC_KEY": str(self.pki / f"{OPERATOR}.key"),
            "FLEETMEDIC_CA": str(self.pki / "agent-ca.crt"),
            "LANG": "C.UTF-8",
        }

    def run(self, *words: str | Path, environment: Mapping[str, str] = {}, seconds: float = 60.0) -> Command:
        done = subprocess.run(
            [BIN / "fleetmedic", *map(str, words)],
            env={**self.environment, **environment},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Command(done.returncode, done.stdout, done.stderr)

    def check(self, *words: str | Path) -> Command:
        return self.run("check", *words)


def desk(folder: Path) -> Desk:
    """Make the two authorities and an operator's certificate with the product's own commands."""
    made = Desk(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for words in (
        ("pki", "init", "--dir", made.pki, "--org", ORG),
        ("pki", "issue", "operator", OPERATOR, "--dir", made.pki, "--out", made.pki),
    ):
        done = made.run(*words)
        assert done.code == 0, done.err
    return made


@dataclass(frozen=True)
class Agent:
    """A running agent: where it listens, and the pids of its front and its worker."""

    name: str
    address: str
    port: int
    front: int
    worker: int
    folder: Path
    log: Path

    def pids(self) -> list[int]:
        """Front, worker and all they started."""
        return [pid for root in (self.front, self.worker) for pid in (root, *child.descendants(root))]


@dataclass(frozen=True)
class Fleet:
    """Agents and the inventory that names them."""

    desk: Desk
    agents: Sequence[Agent]
    inventory: Path = field(default=Path())

    def check(self, *words: str | Path) -> Command:
        return self.desk.check("-i", self.inventory, *words)

    def findings(self, *words: str | Path) -> list[dict[str, Any]]:
        """Every finding of every host, each with its host, as the controller has them."""
        whole = self.check("--format", "json", *words).json()
        return [{"host": report["host"], **item} for report in whole["reports"] for item in report["findings"]]


@contextlib.contextmanager
def run(
    desk: Desk,
    name: str,
    *,
    port: int,
    address: str = "127.0.0.1",
    top: str = "",
    config: str = "",
    environment: Mapping[str, str] = {},
) -> Iterator[Agent]:
    """Run one agent until the block ends.

    `top` is more of agent.toml's top, `config` are tables of it; `environment` is the front's alone.
    """
    folder = desk.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    issued = desk.run("pki", "issue", "agent", name, "--dir", desk.pki, "--out", folder)
    assert issued.code == 0, issued.err
    # As an installation leaves it.
    (folder / "trust").mkdir(mode=0o755, exist_ok=True)
    shutil.copy(desk.pki / "denylist.pem", folder / "trust" / "denylist.pem")
    file = folder / "agent.toml"
    file.write_text(_config(desk, name, folder, address, port, top) + config)
    own = {**desk.environment, "HOME": str(folder)}
    worker = child.run(
        [BIN / "fleetmedic-agent", "work", "--config", file],
        log=folder / "worker.log",
        ready=lambda _: (folder / "run" / "worker.sock").exists(),
        environment=own,
        name=f"{name} worker",
    )
    front = child.run(
        [BIN / "fleetmedic-agent", "serve", "--config", file],
        log=folder / "front.log",
        ready=lambda started: "serving on port" in started.said(),
        environment={**own, **environment},
        name=f"{name} front",
    )
    with worker as working, front as serving:
        until(f"{name} sampled", lambda: (folder / "run" / "discovered").exists(), seconds=10.0)
        yield Agent(name, address, port, serving.pid, working.pid, folder, front_log(folder))


def front_log(folder: Path) -> Path:
    return folder / "front.log"


def _config(desk: Desk, name: str, folder: Path, address: str, port: int, top: str) -> str:
    return f"""\
name = "{name}"
listen = "{address}:{port}"
state = "{folder / "state"}"
run = "{folder / "run"}"
probe_allow = ["127.0.0.0/8", "*.lab"]
{top}
[tls]
certificate = "{folder / name}.crt"
key = "{folder / name}.key"
client_ca = "{desk.pki / "operator-ca.crt"}"

"""


@contextlib.contextmanager
def fleet(desk: Desk, agents: Sequence[Agent], variables: str = "") -> Iterator[Fleet]:
    """The agents under one inventory; `variables` is YAML for all of them, at four blanks."""
    yield Fleet(desk, agents, _inventory(desk, agents, variables, "-".join(agent.name for agent in agents)))


def _inventory(desk: Desk, agents: Sequence[Agent], variables: str, name: str) -> Path:
    file = desk.folder / f"{name}.yml"
    hosts = "".join(
        f"    {agent.name}: {{fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}\n"
        for agent in agents
    )
    file.write_text(f"all:\n  hosts:\n{hosts}" + (f"  vars:\n{variables}" if variables else ""))
    return file


def asking(fleet: Fleet, **variables: object) -> Fleet:
    """The same fleet under an inventory with variables for all its hosts, such as fleetmedic_http."""
    text = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in variables.items())
    return Fleet(fleet.desk, fleet.agents, _inventory(fleet.desk, fleet.agents, text, f"{fleet.inventory.stem}-asking"))
