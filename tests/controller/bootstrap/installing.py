"""What the tests of installations share: a desk and its hosts, with commands on the one and looks at the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.agents import Command, Desk
from tests.lab.hosts import LabHost, Site

HOME = "/opt/fleetmedic"
SERVICES = ("fleetmedic-agent-work", "fleetmedic-agent-serve")


@dataclass(frozen=True)
class Crew:
    """A desk, the hosts its agents go to, and where bundles are."""

    desk: Desk
    site: Site
    bundles: Path

    @property
    def inventory(self) -> Path:
        """All hosts share one network here, so each agent listens on its host's own address alone."""
        file = self.desk.folder / "fleet.yml"
        if not file.exists():
            self.write()
        return file

    def write(self, **more: str) -> None:
        """Write the inventory; `more` are lines of variables for all hosts."""
        lines = ["all:", "  vars:", f"    ansible_ssh_private_key_file: {self.site.key}"]
        lines += [f"    {name}: {value}" for name, value in more.items()]
        lines.append("  hosts:")
        lines += [
            f"    {host.name}: {{ansible_host: {host.address}, fleetmedic_listen: {host.address}}}"
            for host in self.site.hosts
        ]
        (self.desk.folder / "fleet.yml").write_text("\n".join(lines) + "\n")

    def agent(self, *words: str | Path, seconds: float = 180.0) -> Command:
        """Run `fleetmedic agent` with the inventory."""
        command, *rest = words
        own = {
            "FLEETMEDIC_PKI": str(self.desk.pki),
            "FLEETMEDIC_BUNDLES": str(self.bundles),
            "FLEETMEDIC_KNOWN_HOSTS": str(self.site.known_hosts),
        }
        return self.desk.run("agent", command, *rest, "-i", self.inventory, environment=own, seconds=seconds)

    def check(self, *words: str | Path) -> Command:
        return self.desk.run("check", *words, "-i", self.inventory)


def pids(host: LabHost) -> Sequence[str]:
    """The main process of each service; 0 for none."""
    return [host.run("systemctl", "show", "--value", "-p", "MainPID", name).strip() for name in SERVICES]


def exists(host: LabHost, path: str) -> bool:
    return host.tried("test", "-e", path).code == 0
