"""What the tests of installations share: a desk and its hosts, with commands on the one and looks at the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.agents import Command, Desk
from tests.lab.hosts import LabHost, Site
from tests.lab.waiting import until

HOME = "/opt/fleetmedic"
CONFIG = "/etc/fleetmedic/agent.toml"
STATE = "/var/lib/fleetmedic"
IDENTITY = f"{STATE}/identity"
UNITS = "/etc/systemd/system"
SERVICES = ("fleetmedic-agent-work.service", "fleetmedic-agent-serve.service")
PLACES = ("/opt", "/etc", "/var/lib/fleetmedic", "/run/fleetmedic", "/root", "/home")
# What useradd keeps of the accounts as they were, and its lock.
KEPT = ("passwd-", "shadow-", "group-", "gshadow-", ".pwd.lock")


@dataclass(frozen=True)
class Crew:
    """A desk, the hosts its agents go to, and where bundles are."""

    desk: Desk
    site: Site
    bundles: Path

    @property
    def inventory(self) -> Path:
        file = self.desk.folder / "fleet.yml"
        if not file.exists():
            self.write()
        return file

    def write(self, own: Mapping[str, Mapping[str, object]] = {}, **more: object) -> None:
        """Write the inventory; `more` are variables of all hosts, `own` of some, and may replace what is there.

        All hosts share one network here, so each agent listens on its host's own address alone.
        """
        lines = ["all:", "  hosts:"]
        for host in self.site.hosts:
            variables = {
                "ansible_host": host.address,
                "ansible_ssh_private_key_file": self.site.key,
                "fleetmedic_listen": host.address,
                **more,
                **own.get(host.name, {}),
            }
            lines.append(f"    {host.name}:")
            lines += [f"      {name}: {value}" for name, value in variables.items()]
        (self.desk.folder / "fleet.yml").write_text("\n".join(lines) + "\n")

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "FLEETMEDIC_PKI": str(self.desk.pki),
            "FLEETMEDIC_BUNDLES": str(self.bundles),
            "FLEETMEDIC_KNOWN_HOSTS": str(self.site.known_hosts),
        }

    def agent(self, command: str, *words: str | Path, seconds: float = 180.0) -> Command:
        """Run `fleetmedic agent` with the inventory."""
        own = self.environment
        return self.desk.run("agent", command, *words, "-i", self.inventory, environment=own, seconds=seconds)

    def ping(self) -> Command:
        return self.desk.run("inventory", "ping", "-i", self.inventory)


def pids(host: LabHost) -> Sequence[str]:
    """The main process of each service; 0 for none."""
    return [host.run("systemctl", "show", "--value", "-p", "MainPID", name).strip() for name in SERVICES]


def exists(host: LabHost, path: str) -> bool:
    return host.tried("test", "-e", path).code == 0


def files(host: LabHost) -> Mapping[str, str]:
    """Every path where an installation may write, with its mode, owner, and what it holds."""
    found: list[Mapping[str, str]] = []

    def whole() -> bool:
        """The engine may lose lines of a busy machine's commands, and files may go while they are listed."""
        there = [place for place in PLACES if exists(host, place)]
        lines = host.run("find", *there, "-xdev", "-printf", "%p %M %U:%G %l\n").splitlines()
        sums = host.tried("find", *there, "-xdev", "-type", "f", "-exec", "md5sum", "{}", "+").out.splitlines()
        made = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}
        digests = {line.partition("  ")[2]: line.partition("  ")[0] for line in sums}
        found.append({path: f"{about} {digests.get(path, '')}" for path, about in made.items()})
        return digests.keys() == {path for path, about in made.items() if about.startswith("-")}

    until(f"the files of {host.name} can be listed", whole)
    kept = tuple(f"/etc/{name}" for name in KEPT)
    return {path: about for path, about in found[-1].items() if not path.startswith(kept)}


def untouched(host: LabHost, before: Mapping[str, str]) -> None:
    """Holds that a host is as it was, to the last file, and that systemd knows of nothing of ours."""
    now = files(host)
    assert {path: about for path, about in now.items() if before.get(path) != about} == {}
    assert before.keys() - now.keys() == set()
    # Systemd forgets a unit some time after its file is gone.
    until(
        "no unit of ours is known", lambda: "fleetmedic" not in host.run("systemctl", "list-units", "--all", "--plain")
    )
    assert "fleetmedic" not in host.run("systemctl", "list-unit-files", "--plain", "--no-legend")
    assert host.tried("pgrep", "-f", "fleetmedic").code == 1
    assert not exists(host, "/run/fleetmedic-install.lock")


def ending(done: Command, host: str) -> str:
    """The line of a host, which is one."""
    (line,) = [line for line in done.out.splitlines() if line.split()[2:3] == [host]]
    return line
