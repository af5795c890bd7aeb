"""An agent, front and worker, of an ordinary user's: the kernel's limits bind it, as they do not bind root."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab import agents, child
from tests.lab.agents import BIN, Agent, Desk, Fleet


@contextlib.contextmanager
def run_as(user: int, desk: Desk, folder: Path) -> Iterator[Fleet]:
    """Run an agent, front and worker, as an ordinary user."""
    tls = folder / "tls"
    assert desk.run("pki", "issue", "agent", "plain01", "--dir", desk.pki, "--out", tls).code == 0
    ca = tls / "operator-ca.crt"
    ca.write_bytes((desk.pki / "operator-ca.crt").read_bytes())
    file = folder / "agent.toml"
    file.write_text(
        f'name = "plain01"\nlisten = "127.0.0.1:7478"\nstate = "{folder}/state"\nrun = "{folder}/run"\n'
        f'[tls]\ncertificate = "{tls}/plain01.crt"\nkey = "{tls}/plain01.key"\nclient_ca = "{ca}"\n'
    )
    for place in (folder, tls, *tls.iterdir(), file):
        os.chown(place, user, user)
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    environment = {"PATH": os.defpath, "HOME": str(folder)}
    with (
        child.run(
            [*become, BIN / "fleetmedic-agent", "work", "--config", file],
            log=folder / "work.log",
            ready=lambda _: (folder / "run" / "worker.sock").exists(),
            environment=environment,
        ) as worker,
        child.run(
            [*become, BIN / "fleetmedic-agent", "serve", "--config", file],
            log=folder / "serve.log",
            ready=lambda front: "serving" in front.said(),
            environment=environment,
        ) as front,
    ):
        agent = Agent("plain01", "127.0.0.1", 7478, front.pid, worker.pid, folder, folder / "serve.log")
        with agents.fleet(desk, [agent]) as fleet:
            yield fleet


def tasks_of(user: int) -> int:
    """Everything the kernel counts against the user's limit."""
    said = subprocess.run(["ps", "-eLo", "uid"], capture_output=True, text=True, check=True).stdout
    return said.split().count(str(user))


def start(user: int, *words: str) -> "subprocess.Popen[bytes]":
    """Starts a program as that user."""
    return subprocess.Popen(words, user=user, group=user, extra_groups=[])


def limit_tasks(user: int, pid: int, most: int) -> None:
    """Bounds what one of the user's processes may start; with the user's own rights, for root's may not reach it."""
    words: Sequence[str] = ("prlimit", f"--nproc={most}", "--pid", str(pid))
    subprocess.run(words, check=True, user=user, group=user, extra_groups=[])
