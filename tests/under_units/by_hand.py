"""Puts an agent on a lab host by hand, as docs/architecture.md has the layout: what its units then do is the point.

The agent is this checkout's and the libraries are this environment's, bound into the host read-only and found by a .pth
file, for a tenth of what an installation takes; the units, the users and the folders are the real ones.
"""

import shutil
import sys
import sysconfig
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from tests.lab.agents import Desk
from tests.lab.hosts import LabHost
from tests.lab.waiting import until

CHECKOUT = Path(__file__).resolve().parents[2]
LIBRARIES = "/opt/lab/libraries"
SOURCE = "/opt/lab/source"
VERSION = "/opt/fleetmedic/0.1.0-00000000"
SERVE = "fleetmedic-agent-serve.service"
WORK = "fleetmedic-agent-work.service"
UNITS = (SERVE, WORK)
PORT = 7443
SCRIPT = f"""#!{VERSION}/bin/python
import sys
from agent.__main__ import main
sys.exit(main())
"""
# For hosts.run: where it lies here, and where on the host.
MOUNTS: Mapping[Path, str] = {
    Path(sysconfig.get_path("purelib")): f"{LIBRARIES}:ro",
    CHECKOUT / "agent": f"{SOURCE}/agent:ro",
    CHECKOUT / "protos" / "fleetmedic": f"{SOURCE}/fleetmedic:ro",
}


def unit(name: str) -> Traversable:
    """A unit as the package has it."""
    return resources.files("controller.bootstrap") / "units" / name


def install(host: LabHost, desk: Desk, config: str = "") -> None:
    """Make the users, folders and files; start nothing. `config` is more of agent.toml, keys of its top first."""
    host.run("useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "fleetmedic")
    _environment(host)
    _identity(host, desk)
    host.put({"/etc/fleetmedic/agent.toml": _config(host, config)})
    host.put({f"/etc/systemd/system/{name}": unit(name).read_bytes() for name in UNITS})
    host.run("systemctl", "daemon-reload")


def start(host: LabHost) -> None:
    """Enable and start both units, and wait until the worker has taken its first sample."""
    host.run("systemctl", "enable", "--quiet", "--now", *UNITS)
    await_ready(host)


def await_ready(host: LabHost, front: str = SERVE, seconds: float = 30.0) -> None:
    """Wait until the front serves and the worker has looked once; `front` is the unit of the former."""

    def ready() -> bool:
        sampled = host.tried("test", "-e", "/run/fleetmedic/discovered").code == 0
        return sampled and "serving on port" in host.journal(front)

    until(f"{host.name}: agent ready", ready, seconds=seconds, every=0.1)


def _environment(host: LabHost) -> None:
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    host.run(python, "-m", "venv", "--without-pip", VERSION)
    folder = f"{VERSION}/lib/python3.{sys.version_info.minor}/site-packages"
    host.put({f"{folder}/lab.pth": f"{LIBRARIES}\n{SOURCE}\n"})
    host.put({f"{VERSION}/bin/fleetmedic-agent": SCRIPT}, 0o755)
    host.run("ln", "-s", VERSION, "/opt/fleetmedic/current")


def _identity(host: LabHost, desk: Desk) -> None:
    folder = desk.folder / f"{host.name}-identity"
    issued = desk.run("pki", "issue", "agent", host.name, "--dir", desk.pki, "--out", folder)
    assert issued.code == 0, issued.err
    user, group = (int(host.run("id", flag, "fleetmedic")) for flag in ("-u", "-g"))
    place = "/var/lib/fleetmedic/identity"
    host.put({"/etc/fleetmedic/operator-ca.crt": (desk.pki / "operator-ca.crt").read_bytes()})
    host.run("install", "-d", "-m", "0700", "-o", "fleetmedic", "-g", "fleetmedic", place)
    for kind in ("crt", "key"):
        host.put({f"{place}/agent.{kind}": (folder / f"{host.name}.{kind}").read_bytes()}, 0o600, (user, group))
    shutil.rmtree(folder)


def _config(host: LabHost, more: str) -> str:
    return f"""\
name = "{host.name}"
front_user = "fleetmedic"
listen = "{host.address}:{PORT}"
{more}
[tls]
certificate = "/var/lib/fleetmedic/identity/agent.crt"
key = "/var/lib/fleetmedic/identity/agent.key"
client_ca = "/etc/fleetmedic/operator-ca.crt"
"""
