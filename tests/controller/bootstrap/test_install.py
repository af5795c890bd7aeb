"""Agents onto hosts over a real sshd, on hosts with systemd and root file systems of their own."""

import re
from pathlib import Path

import pytest
from cryptography import x509

from controller.bootstrap import one_host
from tests.controller.bootstrap.installing import (
    CONFIG,
    HOME,
    IDENTITY,
    SERVICES,
    STATE,
    UNITS,
    Crew,
    ending,
    exists,
    files,
    pids,
    untouched,
)
from tests.lab import agents
from tests.lab.agents import Desk
from tests.lab.hosts import Site

SIGNS = "✓✗?-"


@pytest.mark.covers("sec:install", "sec:enroll")
def test_a_newcomer_needs_two_commands_for_three_agents(lab: Path, bundles: Path, hosts: Site, folder: Path) -> None:
    """Everything is where it is by default: the key in ~/.ssh, hosts in its known_hosts, authorities, bundles."""
    desk = Desk(folder)
    (folder / ".ssh").mkdir(mode=0o700)
    (folder / ".ssh/id_ed25519").write_bytes(hosts.key.read_bytes())
    (folder / ".ssh/id_ed25519").chmod(0o600)
    (folder / ".ssh/known_hosts").write_bytes(hosts.known_hosts.read_bytes())
    (folder / ".cache/fleetmedic").mkdir(parents=True)
    (folder / ".cache/fleetmedic/bundles").symlink_to(bundles)
    inventory = folder / "fleet.ini"
    lines = (f"{it.name} ansible_host={it.address} fleetmedic_listen={it.address}\n" for it in hosts.hosts)
    inventory.write_text("".join(lines))

    first = desk.run("pki", "init", "--org", "example")
    assert first.code == 0, first.err
    done = desk.run("agent", "install", "all", "-i", inventory, seconds=180)
    assert done.code == 0, done.out + done.err
    version = re.search(r"0\.1\.0-[0-9a-f]{8}", done.out)
    assert version
    plan, *told, totals = done.out.splitlines()
    assert plan == "3 hosts: 3 new"
    for host in hosts.hosts:
        assert re.fullmatch(
            rf"[{SIGNS}] installed    {host.name} +{version[0]} answers at {host.address} port 7443   \d+\.\ds",
            ending(done, host.name),
        )
    assert len(told) == 3
    assert totals.startswith("3 hosts: 3 installed   in ")
    assert done.err == ""
    again = desk.run("agent", "uninstall", "all", "-i", inventory, "--yes", "--purge")
    assert again.code == 0, again.out


@pytest.fixture(scope="module")
def installed(crew: Crew) -> Crew:
    """Return the crew with an agent on each host."""
    crew.write()
    done = crew.agent("install", "all")
    assert done.code == 0, done.out + done.err
    return crew


@pytest.mark.covers("sec:install")
def test_agents_answer_over_mutual_tls_under_their_inventory_names(installed: Crew) -> None:
    done = installed.ping()
    assert done.code == 0, done.out
    assert all(host.name in done.out for host in installed.site.hosts)


@pytest.mark.covers("sec:enroll")
def test_the_key_is_made_on_the_host_and_the_certificate_is_for_its_name(installed: Crew) -> None:
    for host in installed.site.hosts:
        certificate = x509.load_pem_x509_certificate(host.run("cat", f"{IDENTITY}/agent.crt").encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [host.name]
        assert host.run("stat", "-c", "%a %U:%G", f"{IDENTITY}/agent.key").strip() == "600 fleetmedic:fleetmedic"
        assert host.run("stat", "-c", "%a %U:%G", IDENTITY).strip() == "700 fleetmedic:fleetmedic"
        secret = host.run("cat", f"{IDENTITY}/agent.key").splitlines()[1]
        for file in installed.desk.folder.rglob("*"):
            assert not file.is_file() or secret not in file.read_text(errors="replace")
    kept = (installed.desk.pki / "register.jsonl").read_text()
    assert all(f'"{host.name}"' in kept for host in installed.site.hosts)


@pytest.mark.covers("sec:install")
def test_the_layout_is_root_s_and_the_units_are_those_that_were_scored(installed: Crew) -> None:
    for host in installed.site.hosts:
        about = host.run("stat", "-c", "%a %U %n", CONFIG, "/etc/fleetmedic/operator-ca.crt", STATE, f"{STATE}/audit")
        assert about.split("\n")[:4] == [
            f"644 root {CONFIG}",
            "644 root /etc/fleetmedic/operator-ca.crt",
            f"755 root {STATE}",
            f"700 root {STATE}/audit",
        ]
        assert (
            host.run("cat", "/etc/fleetmedic/operator-ca.crt") == (installed.desk.pki / "operator-ca.crt").read_text()
        )
        for name in SERVICES:
            assert host.run("cat", f"{UNITS}/{name}") == (one_host.UNITS / name).read_text()
            assert host.run("systemctl", "is-enabled", name).strip() == "enabled"
        users = host.run("ps", "-o", "user=", "-p", ",".join(pids(host))).split()
        assert users == ["root", "fleetme+"] or users == ["root", "fleetmedic"]
        assert host.run("id", "-nG", "fleetmedic").strip() == "fleetmedic"
        assert not exists(host, f"{HOME}/.undo")
        assert not exists(host, f"{HOME}/.wheels")
        # Nobody but root can write into the program.
        assert host.run("find", f"{HOME}/", "-not", "-type", "l", "-perm", "/022") == ""
        assert host.run("find", f"{HOME}/", "-not", "-user", "root") == ""


@pytest.mark.covers("sec:install", "sec:enroll")
def test_a_second_run_changes_nothing_restarts_nothing_and_keeps_the_key(installed: Crew) -> None:
    before = [(pids(host), files(host)) for host in installed.site.hosts]
    done = installed.agent("install", "all")
    assert done.code == 0
    assert "3 hosts: 3 unchanged" in done.out
    for host, (running, held) in zip(installed.site.hosts, before, strict=True):
        assert pids(host) == running
        now = files(host)
        # What it remembers, its audit log and its sockets are the agent's, which was asked who it is.
        its_own = (f"{STATE}/agent", f"{STATE}/audit", "/run/fleetmedic")
        ours = {path for path in {**held, **now} if not path.startswith(its_own)}
        assert [(path, held.get(path), now.get(path)) for path in ours if held.get(path) != now.get(path)] == []


@pytest.mark.covers("sec:install", "sec:enroll")
def test_a_changed_agent_toml_alone_is_written_and_the_units_restarted(installed: Crew) -> None:
    changed, *others = installed.site.hosts
    before = {host.name: (pids(host), host.run("md5sum", f"{IDENTITY}/agent.key")) for host in installed.site.hosts}
    installed.write({changed.name: {"fleetmedic_limits": "{PG-IDLE-TXN: {warn_seconds: 30}}"}})
    done = installed.agent("install", "all")
    assert done.code == 0, done.out
    assert " installed " in ending(done, changed.name)
    assert '"warn_seconds" = 30.0' in changed.run("cat", CONFIG)
    after = {host.name: (pids(host), host.run("md5sum", f"{IDENTITY}/agent.key")) for host in installed.site.hosts}
    assert after[changed.name][0] != before[changed.name][0]
    assert after[changed.name][1] == before[changed.name][1]
    for host in others:
        assert " unchanged " in ending(done, host.name)
        assert after[host.name] == before[host.name]
    installed.write()
    assert installed.agent("install", changed.name).code == 0


@pytest.mark.covers("sec:install")
def test_a_configuration_that_the_agent_does_not_take_is_undone_before_anything_stops(installed: Crew) -> None:
    host = installed.site.hosts[0]
    before, running = files(host)[CONFIG], pids(host)
    installed.write(
        {
            host.name: {
                "fleetmedic_services": "[shop]",
                "fleetmedic_shop_redis": "127.0.0.1:6379",
                "fleetmedic_shop_redis_password_file": "/etc/fleetmedic/nowhere",
            }
        }
    )
    done = installed.agent("install", host.name)
    installed.write()
    assert done.code == 2
    assert "/etc/fleetmedic/nowhere: No such file or directory; what was done is undone" in ending(done, host.name)
    assert files(host)[CONFIG] == before
    assert installed.ping().code == 0
    assert pids(host) == running


@pytest.mark.covers("sec:install")
def test_the_agent_answers_again_after_its_host_restarts(installed: Crew) -> None:
    host = installed.site.hosts[0]
    host.restart()
    done = installed.agent("install", host.name)
    assert " unchanged " in ending(done, host.name), done.out


@pytest.mark.covers("sec:install")
def test_a_service_that_was_stopped_is_started_again(installed: Crew) -> None:
    host = installed.site.hosts[0]
    host.run("systemctl", "disable", "--now", "--quiet", *SERVICES)
    done = installed.agent("install", host.name)
    assert " installed " in ending(done, host.name), done.out
    assert host.run("systemctl", "is-enabled", *SERVICES).split() == ["enabled", "enabled"]


@pytest.mark.covers("sec:enroll")
def test_a_new_key_is_made_where_the_old_one_is_spoilt_or_the_authority_another(installed: Crew, lab: Path) -> None:
    host = installed.site.hosts[0]
    key = f"{IDENTITY}/agent.key"
    before = host.run("md5sum", key)
    assert installed.agent("install", host.name, "--new-key").code == 0
    assert host.run("md5sum", key) != before
    host.run("rm", f"{IDENTITY}/agent.crt")
    assert installed.agent("install", host.name).code == 0
    other = Crew(agents.desk(lab / "other-desk"), installed.site, installed.bundles)
    done = other.agent("install", host.name)
    assert " installed " in ending(done, host.name), done.out
    assert installed.ping().code == 4
    assert installed.agent("install", host.name).code == 0
    assert installed.ping().code == 0


@pytest.mark.covers("sec:install")
def test_what_discovery_finds_is_written_down(installed: Crew) -> None:
    host = installed.site.hosts[0]
    server = "redis-server --bind 127.0.0.1 --port 6399 --daemonize yes --dir /tmp"
    host.run("systemd-run", "--quiet", "--unit=shop-redis", *server.replace("--daemonize yes ", "").split())
    try:
        done = installed.agent("install", host.name, "--from-discovery")
        assert done.code == 0, done.out
        config = host.run("cat", CONFIG)
        assert '[[redis]]\nservice = "redis"\nhost = "127.0.0.1"\nport = 6399\n' in config
        assert f'listen = "{host.address}:7443"' in config
        again = installed.agent("install", host.name, "--from-discovery")
        assert " unchanged " in ending(again, host.name), again.out
    finally:
        host.run("systemctl", "stop", "shop-redis")
    assert installed.agent("install", host.name).code == 0


@pytest.mark.covers("sec:uninstall")
def test_uninstalling_leaves_the_audit_log_and_what_others_put_there_and_nothing_else(fresh: Crew) -> None:
    host = fresh.site.only
    before = files(host)
    assert fresh.agent("install", "all").code == 0
    host.put({"/etc/fleetmedic/redis-password": "x", f"{STATE}/audit/kept": "x"})
    done = fresh.agent("uninstall", host.name, "--yes")
    assert done.code == 0, done.out
    left = f"left there: /etc/fleetmedic/redis-password, {STATE}/audit"
    assert f"uninstalled  {host.name}  {left}" in ending(done, host.name)
    host.run("rm", "/etc/fleetmedic/redis-password")
    host.run("rmdir", "/etc/fleetmedic")
    done = fresh.agent("uninstall", host.name, "--yes", "--purge")
    assert " uninstalled " in ending(done, host.name)
    untouched(host, before)
    done = fresh.agent("uninstall", host.name, "--yes", "--purge")
    assert (done.code, " unchanged " in ending(done, host.name)) == (0, True)
    untouched(host, before)


@pytest.mark.covers("sec:uninstall")
def test_uninstalling_wants_a_yes_where_nobody_can_be_asked(crew: Crew) -> None:
    for pattern, count in (("db01", "1 host"), ("all", "3 hosts")):
        done = crew.agent("uninstall", pattern)
        assert done.code == 64
        assert f"this takes the agent off {count}: say --yes" in done.err
    listed = crew.agent("uninstall", "all", "--list-hosts")
    assert listed.out.split() == ["db01", "app01", "web01"]
