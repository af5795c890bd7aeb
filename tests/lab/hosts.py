"""Hosts to install agents on: containers with a root file system of their own, systemd as process 1 and an sshd.

Each has an address of the loopback, 127.0.1.N, and whatever it listens on there. /usr is the machine's, read-only; all
else is the host's own and outlives a restart, but for /run and /tmp. Nothing in it is held back: only so is the sandbox
that a unit asks for enforced, and tested.
"""

import contextlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from docker.models.containers import Container

from tests.lab import images, requirements
from tests.lab.dockerd import Engine
from tests.lab.waiting import listens, until

IMAGE = "lab/host:1"
SSH_PORT = 22
DEPLOY = "deploy"
DEPLOY_ID = 7000
# Of the machine's /etc, what its programs read: no password, no key, no service.
ETC = (
    *("alternatives", "ca-certificates.conf", "debian_version", "default/useradd", "deluser.conf", "adduser.conf"),
    *("environment", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "login.defs", "mime.types"),
    *("nsswitch.conf", "os-release", "pam.conf", "pam.d", "postgresql-common", "profile", "protocols", "python3.11"),
    *("security", "selinux", "services", "shells", "skel", "ssl/certs", "ssl/openssl.cnf", "timezone"),
)
FOLDERS = {
    **images.FOLDERS,
    **dict.fromkeys(("home", "opt", "srv", "mnt", "media", "boot", "var/cache", "var/tmp", "var/spool"), 0o755),
    **dict.fromkeys(("etc/ssh", "etc/systemd/system/lab.target.wants", "etc/default", "etc/ssl"), 0o755),
    **{"tmp": 0o1777, "var/tmp": 0o1777, "etc/sudoers.d": 0o750, f"home/{DEPLOY}": 0o755},
}
# What has no place in a container, or would wait for a keyboard.
MASKED = (
    *(f"systemd-{name}.service" for name in ("firstboot", "udevd", "udev-trigger", "tmpfiles-setup-dev", "sysusers")),
    *(f"systemd-{name}.service" for name in ("network-generator", "remount-fs", "modules-load", "sysctl", "pstore")),
    *(f"systemd-{name}.service" for name in ("random-seed", "update-utmp", "update-utmp-runlevel", "logind", "binfmt")),
    *(f"systemd-{name}.service" for name in ("timesyncd", "networkd", "resolved", "hwdb-update", "machine-id-commit")),
    *("systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "systemd-initctl.socket", "dbus.socket"),
    *("systemd-ask-password-wall.path", "systemd-ask-password-console.path", "systemd-tmpfiles-clean.timer"),
    *("kmod-static-nodes.service", "modprobe@.service", "getty@.service", "console-getty.service", "ldconfig.service"),
    *("getty.target", "dbus.service", "dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount"),
    *("sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("proc-sys-fs-binfmt_misc.automount", "e2scrub_reap.service"),
)
# The engine mounts control groups for reading alone.
BOOT = """
for point in /sys/fs/cgroup $(ls -d /sys/fs/cgroup/*/); do
    mountpoint -q $point && mount -o remount,rw,bind $point
done
exec /usr/lib/systemd/systemd
"""
TARGET = """\
[Unit]
Description=The lab's host
Requires=basic.target
After=basic.target
AllowIsolate=yes
"""
SSHD = """\
[Unit]
Description=sshd of the lab's host

[Service]
Type=exec
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e
KillMode=process
Restart=on-failure
"""
# Without PAM: a login costs a tenth, and a host without a message bus has nobody to tell of it.
SSHD_CONFIG = """\
ListenAddress {address}
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
"""
JOURNALD = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitIntervalSec=0\n"
SUDOERS = f"root ALL=(ALL:ALL) ALL\n{DEPLOY} ALL=(ALL:ALL) NOPASSWD: ALL\n"
# By their numbers in the kernel.
CAPABILITIES = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner"),
    *("sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice"),
    *("sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap"),
    *("mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf"),
    "checkpoint_restore",
)
SERVICES = {"db01": "orders-db", "app01": "orders", "web01": "shop"}


class HostError(RuntimeError):
    """A command on a host ended badly; the message has its exit code and all it wrote."""


@dataclass(frozen=True)
class Ended:
    """How a command on a host ended, and what it wrote to both streams."""

    code: int
    out: str


@dataclass(frozen=True)
class LabHost:
    """A running host: its inventory name and its address of the loopback."""

    name: str
    address: str
    container: Container

    def run(self, *argv: str | Path, user: str = "root") -> str:
        """Run a program on it and return what it wrote. HostError where it fails."""
        ended = self.tried(*argv, user=user)
        if ended.code:
            raise HostError(f"{self.name}: {' '.join(map(str, argv))} ended with {ended.code}: {ended.out}")
        return ended.out

    def tried(self, *argv: str | Path, user: str = "root") -> Ended:
        code, output = self.container.exec_run([str(word) for word in argv], user=user)
        assert isinstance(output, bytes)
        assert code is not None
        return Ended(code, output.decode(errors="replace"))

    def put(self, files: Mapping[str, str | bytes], mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        """Write files by their absolute paths, not below /run or /tmp; folders on the way are made, 0755 and root's."""
        with archive() as (tar, buffer):
            for path, content in files.items():
                body = content.encode() if isinstance(content, str) else content
                _add(tar, path, body, mode, owner)
        self.container.put_archive("/", buffer.getvalue())

    def journal(self, unit: str) -> str:
        """What the unit has written since the host started, and what systemd says of it."""
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit)

    def restart(self) -> None:
        """Shut the host down and start it again; it returns with sshd listening and all units of its target started."""
        self.container.restart(timeout=5)
        await_up(self)


@dataclass(frozen=True)
class Site:
    """Hosts, an inventory that names them, their host keys, and the key that logs in as root and as `deploy`."""

    hosts: Sequence[LabHost]
    known_hosts: Path
    key: Path
    inventory: Path
    by_name: Mapping[str, LabHost] = field(default_factory=dict)

    @property
    def only(self) -> LabHost:
        """The host of a site with one."""
        (host,) = self.hosts
        return host

    def __getitem__(self, name: str) -> LabHost:
        return self.by_name[name]


@contextlib.contextmanager
def run(
    engine: Engine, folder: Path, names: Sequence[str], *, first: int = 1, mounts: Mapping[Path, str] = {}
) -> Iterator[Site]:
    """Run a host for each name until the block ends: the first on 127.0.1.`first`, and so on.

    `mounts` are more folders of the machine for all of them: where it is here, and PLACE:ro or PLACE:rw there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    login = folder / "login"
    login.write_bytes(_private(key))
    login.chmod(0o600)
    _image(engine)
    with contextlib.ExitStack() as stack:
        made = []
        known = ""
        for number, name in enumerate(names, first):
            own = Ed25519PrivateKey.generate()
            host = stack.enter_context(_started(engine, name, f"127.0.1.{number}", own, _public(key), mounts))
            known += f"{host.address} {_public(own)}\n"
            made.append(host)
        for host in made:
            await_up(host)
        (folder / "known_hosts").write_text(known)
        (folder / "hosts.yml").write_text(_inventory(made, login))
        yield Site(made, folder / "known_hosts", login, folder / "hosts.yml", {host.name: host for host in made})


def await_up(host: LabHost) -> None:
    """Wait until systemd has started its target; units that failed are no reason to wait longer."""
    until(f"{host.name} listens on port {SSH_PORT}", lambda: listens(SSH_PORT, host.address), seconds=60.0)
    ended = host.tried("systemctl", "is-system-running", "--wait")
    if ended.out.strip() not in ("running", "degraded"):
        raise HostError(f"{host.name} is {ended.out.strip()}")


@contextlib.contextmanager
def _started(
    engine: Engine, name: str, address: str, own: Ed25519PrivateKey, login: str, mounts: Mapping[Path, str]
) -> Iterator[LabHost]:
    container = engine.client.containers.get(_created(engine, name, address, mounts))
    try:
        host = LabHost(name, address, container)
        host.put(
            {
                "/etc/ssh/sshd_config": SSHD_CONFIG.format(address=address),
                "/etc/machine-id": f"{container.id}"[:32] + "\n",
            }
        )
        host.put({"/etc/ssh/ssh_host_ed25519_key": _private(own), "/root/.ssh/authorized_keys": login}, 0o600)
        host.put({f"/home/{DEPLOY}/.ssh/authorized_keys": login})
        container.start()
        yield host
    finally:
        container.remove(force=True, v=True)


def _created(engine: Engine, name: str, address: str, mounts: Mapping[Path, str]) -> str:
    """Make the container, and return its id."""
    api = engine.client.api
    programs = {path: f"{path}:ro" for path in images.programs() if path != Path(sys.prefix)}
    volumes = [f"{path}:{place}" for path, place in {**programs, **mounts}.items()]
    settings = api.create_host_config(
        network_mode="host",
        # Control groups of its own, version 1 or 2: nothing on the host says that it is a container.
        cgroupns="private",
        binds=volumes,
        tmpfs={"/run": "mode=755", "/run/lock": "mode=1777", "/tmp": "mode=1777"},
        extra_hosts={name: address},
        cap_add=["ALL"],
        cap_drop=_out_of_reach(),
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        devices=["/dev/kmsg:/dev/kmsg:r", "/dev/fuse"],
    )
    # What is refused on a host must be refused by its units, and not by the engine.
    settings |= {"MaskedPaths": [], "ReadonlyPaths": []}
    made: dict[str, str] = api.create_container(
        IMAGE,
        ["/bin/sh", "-c", BOOT],
        name=f"host-{name}",
        hostname=name,
        # An engine of the host's own needs a file system that takes overlays, and a container's root takes none.
        volumes=["/var/lib/docker"],
        stop_signal="SIGRTMIN+3",
        host_config=settings,
    )
    return made["Id"]


def _out_of_reach(status: Path = Path("/proc/self/status")) -> list[str]:
    """The capabilities this process can't hand on: a machine that is itself confined may lack some."""
    held = next(int(row.split()[1], 16) for row in status.read_text().splitlines() if row.startswith("CapBnd:"))
    return [name.upper() for number, name in enumerate(CAPABILITIES) if not held >> number & 1]


def _image(engine: Engine) -> None:
    if not engine.client.api.images(name=IMAGE, quiet=True):
        repository, _, tag = IMAGE.partition(":")
        changes = [f"ENV PATH={images.SEARCH}", "ENV container=docker", "ENV LANG=C.UTF-8"]
        engine.client.api.import_image_from_data(_tree(), repository=repository, tag=tag, changes=changes)


def _tree() -> bytes:
    with archive() as (tar, buffer):
        for name, mode in FOLDERS.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            if name == f"home/{DEPLOY}":
                entry.uid = entry.gid = DEPLOY_ID
            tar.addfile(entry)
        for name, target in (*images.LINKS.items(), *_units()):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
        for name in ETC:
            path = Path("/etc", name)
            if path.exists():
                tar.add(path.resolve() if path.is_file() else path, arcname=f"etc/{name}")
        for name, text in _accounts().items():
            _add(tar, f"etc/{name}", text.encode(), 0o600 if "shadow" in name else 0o644)
        _add(tar, "etc/sudoers", SUDOERS.encode(), 0o440)
        _add(tar, "etc/systemd/system/lab.target", TARGET.encode())
        _add(tar, "etc/systemd/system/ssh.service", SSHD.encode())
        _add(tar, "etc/systemd/journald.conf", JOURNALD.encode())
    return buffer.getvalue()


def _units() -> Iterator[tuple[str, str]]:
    units = "etc/systemd/system"
    for name in MASKED:
        yield f"{units}/{name}", "/dev/null"
    for name in ("default.target", "multi-user.target"):
        yield f"{units}/{name}", "lab.target"
    yield f"{units}/lab.target.wants/ssh.service", "../ssh.service"


def _accounts() -> dict[str, str]:
    """The machine's system users without its people, all without a password, and the user `deploy`."""
    users = [row for row in Path("/etc/passwd").read_text().splitlines() if _system(row)]
    groups = [row for row in Path("/etc/group").read_text().splitlines() if _system(row)]
    users.append(f"{DEPLOY}:x:{DEPLOY_ID}:{DEPLOY_ID}::/home/{DEPLOY}:/bin/bash")
    groups.append(f"{DEPLOY}:x:{DEPLOY_ID}:")
    return {
        "passwd": "".join(f"{row}\n" for row in users),
        "group": "".join(f"{row}\n" for row in groups),
        "shadow": "".join(f"{row.partition(':')[0]}:*:19000:0:99999:7:::\n" for row in users),
        "gshadow": "".join(f"{row.partition(':')[0]}:*::\n" for row in groups),
    }


def _system(row: str) -> bool:
    name, _, number = row.split(":")[:3]
    # 65534 is nobody. An agent of the machine's own is none of the lab's.
    return (int(number) < 1000 or int(number) == 65534) and name != "fleetmedic"


@contextlib.contextmanager
def archive() -> Iterator[tuple[tarfile.TarFile, io.BytesIO]]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        yield tar, buffer


def _add(tar: tarfile.TarFile, path: str, body: bytes, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.size, entry.mode = len(body), mode
    entry.uid, entry.gid = owner
    tar.addfile(entry, io.BytesIO(body))


def _private(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def _public(key: Ed25519PrivateKey) -> str:
    encoded = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return encoded.decode()


def _inventory(hosts: Sequence[LabHost], login: Path) -> str:
    lines = ["all:", "  vars:", f"    ansible_ssh_private_key_file: {login}", "    ansible_user: root", "  hosts:"]
    for host in hosts:
        services = f"[{SERVICES[host.name]}]" if host.name in SERVICES else "[]"
        lines.append(f"    {host.name}: {{ansible_host: {host.address}, fleetmedic_services: {services}}}")
    return "\n".join(lines) + "\n"


def ssh(site: Site, host: LabHost, *argv: str, user: str = "root") -> subprocess.CompletedProcess[str]:
    """Run a command through the machine's own ssh, with the site's key and known hosts and nothing else."""
    options = ("BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={site.known_hosts}")
    return subprocess.run(
        [
            *(requirements.required("ssh"), "-F", "none", "-i", site.key),
            *(word for option in options for word in ("-o", option)),
            *(f"{user}@{host.address}", *argv),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
