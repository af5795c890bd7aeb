"""Shows that the lab's hosts are hosts: files, accounts, a systemd and an sshd of their own, units with a sandbox."""

from pathlib import Path

import pytest

from tests.lab import hosts as machines
from tests.lab.hosts import HostError, LabHost, Site

# Version 1 has its folders one level deeper, below one that nobody can write.
GROUP = "for d in /sys/fs/cgroup/systemd /sys/fs/cgroup; do mkdir $d/$$ && rmdir $d/$$ && exit; done; exit 1"


def ended_well(host: LabHost, name: str, *settings: str, command: str) -> bool:
    """Whether a program ends well in a unit of its own with these settings."""
    unit = ["[Service]", "Type=oneshot", *settings, f"ExecStart=/bin/bash -c '{command.replace('$', '$$')}'"]
    host.put({f"/etc/systemd/system/{name}.service": "\n".join(unit) + "\n"})
    host.run("systemctl", "daemon-reload")
    well = host.tried("systemctl", "start", f"{name}.service").code == 0
    host.run("rm", f"/etc/systemd/system/{name}.service")
    return well


def test_each_host_has_its_own_files_and_the_machines_programs(hosts: Site) -> None:
    hosts["db01"].put({"/etc/only-here": "db01"}, 0o600)
    assert hosts["db01"].run("cat", "/etc/only-here") == "db01"
    assert hosts["app01"].tried("cat", "/etc/only-here").code == 1
    assert not Path("/etc/only-here").exists()
    with pytest.raises(HostError, match="db01: touch /usr/x ended with 1: .*Read-only file system"):
        hosts["db01"].run("touch", "/usr/x")
    hosts["db01"].run("rm", "/etc/only-here")


def test_each_host_is_run_by_a_systemd_of_its_own(hosts: Site) -> None:
    assert [host.run("cat", "/proc/1/comm") for host in hosts.hosts] == ["systemd\n"] * 3
    assert len({host.run("cat", "/etc/machine-id") for host in hosts.hosts}) == 3
    assert [host.run("hostname").strip() for host in hosts.hosts] == ["db01", "app01", "web01"]
    assert "Server listening on 127.0.1.2 port 22" in hosts["app01"].journal("ssh.service")


def test_no_account_of_a_host_has_a_password(hosts: Site) -> None:
    assert {row.split(":")[1] for row in hosts["web01"].run("cat", "/etc/shadow").splitlines()} == {"*"}


def test_a_host_lets_root_and_deploy_in_by_the_sites_key_and_deploy_may_become_root(hosts: Site) -> None:
    for name, user in (("db01", "root"), ("app01", "deploy")):
        done = machines.ssh(hosts, hosts[name], "id -un; sudo -n id -un", user=user)
        assert (done.stdout, done.stderr) == (f"{user}\nroot\n", "")
    other = machines.ssh(hosts, hosts["db01"], "id", user="nobody")
    assert other.returncode == 255
    assert "Permission denied (publickey)" in other.stderr


def test_each_host_has_a_host_key_of_its_own(hosts: Site, tmp_path: Path) -> None:
    rows = [row.split() for row in hosts.known_hosts.read_text().splitlines()]
    assert [row[0] for row in rows] == ["127.0.1.1", "127.0.1.2", "127.0.1.3"]
    swapped = tmp_path / "known_hosts"
    swapped.write_text(f"127.0.1.1 {' '.join(rows[1][1:])}\n")
    done = machines.ssh(Site(hosts.hosts, swapped, hosts.key, hosts.inventory), hosts["db01"], "id")
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


@pytest.mark.parametrize(
    ("setting", "command"),
    [
        ("ProtectSystem=strict", "touch /etc/x"),
        ("ProtectHome=yes", "ls /root/.ssh"),
        ("ProtectKernelTunables=yes", "cat /proc/sys/kernel/hostname > /proc/sys/kernel/hostname"),
        ("ProtectControlGroups=yes", GROUP),
        ("SystemCallFilter=~@mount", "mount -t tmpfs x /mnt && umount /mnt"),
        ("CapabilityBoundingSet=", "chown deploy /srv"),
        ("RestrictNamespaces=yes", "unshare --uts true"),
        ("PrivateDevices=yes", "exec 3</dev/kmsg"),
        ("MemoryMax=20M", "head -c 60m /dev/zero | tail -c 60m | wc -c | grep -q 62914560"),
    ],
)
def test_what_a_unit_asks_for_is_enforced_and_nothing_else_refuses_it(hosts: Site, setting: str, command: str) -> None:
    assert ended_well(hosts["db01"], "free", command=command), hosts["db01"].journal("free")
    assert not ended_well(hosts["db01"], "held", setting, command=command)


def test_a_host_keeps_its_files_and_its_units_when_it_restarts(fresh_host: Site) -> None:
    host = fresh_host.only
    unit = "[Service]\nType=exec\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    host.put({"/etc/systemd/system/lasting.service": unit})
    host.run("touch", "/run/passing")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "enable", "--quiet", "lasting.service")
    first = host.run("cat", "/proc/sys/kernel/random/uuid", "/proc/1/stat").split()[23]
    host.restart()
    assert host.run("systemctl", "is-active", "lasting.service") == "active\n"
    assert host.tried("test", "-e", "/run/passing").code == 1
    assert host.run("cat", "/proc/sys/kernel/random/uuid", "/proc/1/stat").split()[23] != first


def test_accounts_can_be_made_on_a_host(fresh_host: Site) -> None:
    host = fresh_host.only
    host.run("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "fleetmedic")
    assert "fleetmedic" in host.run("id", "fleetmedic")
    host.run("userdel", "fleetmedic")
    assert host.tried("id", "fleetmedic").code == 1
