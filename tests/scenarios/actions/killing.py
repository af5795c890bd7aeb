"""An agent whose processes are killed at a named moment of an operation, and started again."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from fleetmedic.v1.action_pb2 import (
    OPERATION_STATE_DONE,
    OPERATION_STATE_INTERRUPTED,
    OPERATION_STATE_RUNNING,
    Action,
    Operation,
    Plan,
)
from fleetmedic.v1.agent_pb2 import ApplyRequest, ListOperationsRequest, PlanRequest
from fleetmedic.v1.agent_pb2_grpc import AgentServiceStub
from tests.lab import child
from tests.lab.agents import BIN, Desk
from tests.lab.child import Child
from tests.lab.waiting import listens, until

MOMENTS = ("before intent", "after intent", "effect sent", "effect done", "before result")
VICTIMS = ("front", "zygote", "job", "all")
PORT = 7460
SECONDS = 20.0


@dataclass
class Victim:
    """The agent: front and worker as child processes, each of which may be killed and started again."""

    desk: Desk
    folder: Path
    name: str
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    children: dict[str, Child] = field(default_factory=dict)

    def start(self, part: str) -> None:
        """Start the front or the zygote, and wait until it answers."""
        file, run = self.folder / "agent.toml", self.folder / "run"
        commands: dict[str, list[str | Path]] = {
            "front": [BIN / "fleetmedic-agent", "serve", "--config", file],
            "zygote": [sys.executable, "-m", "tests.lab.halting_worker", file, self.folder],
        }
        if part == "zygote":
            # Of one that was killed.
            (run / "worker.sock").unlink(missing_ok=True)
        started = child.run(
            commands[part],
            log=self.folder / f"{part}.log",
            ready=lambda _: listens(PORT) if part == "front" else (run / "worker.sock").exists(),
            name=part,
        )
        self.children[part] = self.running.enter_context(started)

    def kill(self, victim: str) -> None:
        """SIGKILL to the victims by pid; what is gone of front and zygote is started again by revive()."""
        for part in ("front", "zygote"):
            if victim in (part, "all"):
                self.children[part].process.kill()
                self.children[part].process.wait()
        if victim in ("job", "all"):
            pid = int((self.folder / "halted").read_text())
            child.send(pid, signal.SIGKILL)
            until("the job is gone", lambda: child.state(pid) in ("", "Z"))

    def revive(self) -> None:
        for part, each in list(self.children.items()):
            if not each.alive():
                self.start(part)

    def halt(self, moment: str) -> None:
        (self.folder / "halted").unlink(missing_ok=True)
        (self.folder / "halt").write_text(moment)

    def until_halted(self) -> None:
        until("it halts", (self.folder / "halted").exists, seconds=SECONDS)

    def go_on(self) -> None:
        (self.folder / "halt").unlink()

    @contextlib.contextmanager
    def called(self) -> Iterator[AgentServiceStub]:
        pki = self.desk.pki
        credentials = grpc.ssl_channel_credentials(
            (pki / "agent-ca.crt").read_bytes(),
            (self.folder / "carol.key").read_bytes(),
            (self.folder / "carol.crt").read_bytes(),
        )
        options = [("grpc.ssl_target_name_override", self.name), ("grpc.enable_retries", 0)]
        with grpc.secure_channel(f"127.0.0.1:{PORT}", credentials, options) as channel:
            yield AgentServiceStub(channel)

    def plan(self, action: Action) -> Plan:
        with self.called() as stub:
            # Past the rate limit, which many cells at one target would meet.
            request = PlanRequest(name="P-KILL", action=action, force=True, reason="a cell of the matrix")
            return stub.Plan(request, timeout=SECONDS).plan

    def apply(self, plan: Plan, operation_id: str) -> Operation | grpc.StatusCode:
        request = ApplyRequest(operation_id=operation_id, plan_id=plan.plan_id, digest=plan.digest)
        with self.called() as stub:
            try:
                return stub.Apply(request, timeout=SECONDS).operation
            except grpc.RpcError as error:
                return error.code()

    def operation(self, operation_id: str) -> Operation | None:
        with self.called() as stub:
            try:
                (found,) = stub.ListOperations(
                    ListOperationsRequest(operation_id=operation_id), timeout=SECONDS
                ).operations
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.NOT_FOUND:
                    raise
                return None
            return found

    def ended(self, operation_id: str) -> Operation | None:
        def over() -> bool:
            found = self.operation(operation_id)
            return found is None or found.state != OPERATION_STATE_RUNNING

        until("it has ended", over, seconds=SECONDS, every=0.05)
        return self.operation(operation_id)


@contextlib.contextmanager
def agent(desk: Desk, name: str, config: str) -> Iterator[Victim]:
    """Run an agent with a configuration until the block ends."""
    folder = desk.folder / name
    folder.mkdir()
    for words in (("agent", name), ("operator", "carol", "--role", "responder")):
        issued = desk.run("pki", "issue", *words, "--dir", desk.pki, "--out", folder)
        assert issued.code == 0, issued.err
    (folder / "trust").mkdir(mode=0o755)
    (folder / "trust/denylist.pem").write_bytes((desk.pki / "denylist.pem").read_bytes())
    (folder / "agent.toml").write_text(f"""\
name = "{name}"
listen = "127.0.0.1:{PORT}"
state = "{folder}/state"
run = "{folder}/run"
discover = false
{config}
[tls]
certificate = "{folder}/{name}.crt"
key = "{folder}/{name}.key"
client_ca = "{desk.pki}/operator-ca.crt"
""")
    victim = Victim(desk, folder, name)
    with victim.running:
        victim.start("zygote")
        victim.start("front")
        yield victim


def kill_at(moment: str, victim: str, agent: Victim, action: Action, effects: Callable[[], int], cell: str) -> str:
    """One cell: an operation halts at the moment, the victim is killed, what is gone is started again.

    `effects` counts, without our code, how often what the action does has happened. Gives how the operation ended.
    """
    plan = agent.plan(action)
    answers: list[Operation | grpc.StatusCode] = []
    agent.halt(moment)
    applying = threading.Thread(target=lambda: answers.append(agent.apply(plan, cell)), daemon=True)
    applying.start()
    agent.until_halted()
    agent.kill(victim)
    agent.go_on()
    applying.join(SECONDS)
    agent.revive()
    ended = agent.ended(cell)
    killed = victim in ("job", "all")
    happened = 0 if killed and moment in MOMENTS[:3] else 1
    assert effects() == happened, (moment, victim, ended)
    if ended is None:
        assert killed
        assert moment == "before intent"
        return _anew(agent, plan, cell, effects)
    assert ended.state == (OPERATION_STATE_INTERRUPTED if killed else OPERATION_STATE_DONE), ended.result
    # The same again is answered from what is stored; the plan is used, whoever asks for it.
    again = agent.apply(plan, cell)
    assert isinstance(again, Operation)
    assert (again.state, again.result) == (ended.state, ended.result)
    assert agent.apply(plan, f"{cell}-other") == grpc.StatusCode.FAILED_PRECONDITION
    assert effects() == happened
    return ended.result


def _anew(agent: Victim, plan: Plan, cell: str, effects: Callable[[], int]) -> str:
    """Nothing was written, so nothing was done: the same plan may be applied."""
    assert isinstance(agent.apply(plan, cell), Operation)
    ended = agent.ended(cell)
    assert ended is not None
    assert ended.state == OPERATION_STATE_DONE, ended.result
    assert effects() == 1
    return ended.result
