"""Agents onto hosts over a real sshd, on hosts with systemd and root file systems of their own."""

import pytest

from tests.controller.bootstrap.installing import Crew, pids


@pytest.mark.covers("sec:install")
def test_first(crew: Crew) -> None:
    done = crew.agent("install", "all")
    print(done.out, done.err)
    for host in crew.site.hosts:
        print(
            host.run(
                "sh",
                "-c",
                "ls -la /opt/fleetmedic /var/lib/fleetmedic /etc/fleetmedic /var/lib/fleetmedic/identity; du -sm /opt/fleetmedic/*; journalctl --no-pager -o cat -n 20",
            )
        )
        break
    done = crew.agent("install", "all")
    print(done.out, done.err)
    done = crew.check()
    print(done.out, done.err)
    done = crew.agent("uninstall", "all", "--yes")
    print(done.out, done.err)
    assert 0
