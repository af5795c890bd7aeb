"""The installed front: it takes in new files by itself, and finishes what was cut off; and how an agent is enrolled."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from fleetmedic.v1.agent_pb2 import DescribeRequest, DescribeResponse
from fleetmedic.v1.agent_pb2_grpc import AgentServiceStub
from tests.agent import front
from tests.agent.front import operator, organisation
from tests.agent.test_live_denial import Clock
from tests.agent.test_own_certificate import public
from tests.lab import child
from tests.lab.authority import DAY, Authority, Files, pem
from tests.lab.child import Child
from tests.lab.waiting import until

PROGRAM = Path(sys.executable).parent / "fleetmedic-agent"
READY = re.compile(r"serving on port (\d+)")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}


@dataclass
class Site:
    """An agent's files and configuration, and both authorities."""

    folder: Path
    config: Path
    files: Files
    operators: Authority
    agents: Authority

    def described(self, serving: Child) -> DescribeResponse:
        """What a new connection is told."""
        found = READY.search(serving.said())
        assert found is not None
        client = operator(self.operators, "observer").write(self.folder / "alice")
        credentials = grpc.ssl_channel_credentials(
            self.files.root.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
        )
        named = [("grpc.ssl_target_name_override", front.NAME)]
        with grpc.secure_channel(f"127.0.0.1:{found[1]}", credentials, named) as channel:
            return AgentServiceStub(channel).Describe(DescribeRequest(), timeout=5.0)

    def serving(self) -> AbstractContextManager[Child]:
        return child.run(
            [PROGRAM, "serve", "--config", self.config],
            log=self.folder / "front.log",
            ready=lambda started: bool(READY.search(started.said())),
        )

    def ends(self, serving: Child) -> int:
        return self.described(serving).standing.certificate_expire_time.seconds


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Lay an agent's files in a folder."""
    now = Clock().now
    operators, agents = organisation(now), organisation(now, "agents")
    files = agents.issue(front.NAME, dns=[front.NAME], ends=5 * DAY).write(tmp_path / "identity", "agent")
    client_ca = tmp_path / "operator-ca.crt"
    client_ca.write_bytes(pem(operators.own.certificate))
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "denylist.pem").write_bytes(operators.denylist(4))
    config = tmp_path / "agent.toml"
    config.write_text(
        f'name = "{front.NAME}"\nlisten = "127.0.0.1:0"\nstate = "{tmp_path}/state"\nrun = "{tmp_path}/run"\n'
        f'trust = "{tmp_path}/trust"\n'
        f'[tls]\ncertificate = "{files.certificate}"\nkey = "{files.key}"\nclient_ca = "{client_ca}"\n'
    )
    return Site(tmp_path, config, files, operators, agents)


def replaced(site: Site, days: int) -> int:
    """Puts another certificate in place; gives when it ends, in epoch seconds."""
    issued = site.agents.issue(front.NAME, dns=[front.NAME], ends=days * DAY)
    files = issued.write(site.folder / "new", "new")
    shutil.copy(files.key, site.files.key)
    shutil.copy(files.certificate, site.files.certificate)
    return int(issued.certificate.not_valid_after_utc.timestamp())


@pytest.mark.covers("sec:R9")
def test_a_running_front_takes_new_files_in_without_being_told_or_at_sighup(site: Site) -> None:
    with site.serving() as serving:
        assert site.described(serving).standing.denylist_sequence == 4
        ends = replaced(site, 6)
        until("the new certificate", lambda: site.ends(serving) == ends, seconds=10.0, every=0.2)
        (site.folder / "trust" / "denylist.pem").write_bytes(site.operators.denylist(5))
        until("the new list", lambda: site.described(serving).standing.denylist_sequence == 5, every=0.2)
        ends = replaced(site, 7)
        os.kill(serving.pid, signal.SIGHUP)
        until("the newest certificate", lambda: site.ends(serving) == ends, seconds=10.0, every=0.2)
        good = site.files.certificate.read_bytes()
        site.files.certificate.write_bytes(b"junk")
        until("the alarm", lambda: site.described(serving).standing.alarms, every=0.2)
        time.sleep(2.5)
        site.files.certificate.write_bytes(good)
        until("no alarm", lambda: not site.described(serving).standing.alarms, every=0.2)
        lines = [line for line in serving.said().splitlines() if "tls.certificate" in line]
        assert [line.partition(" alarm")[0] for line in lines] == ["fleetmedic-agent:", "fleetmedic-agent: no"]
        assert serving.alive()


@pytest.mark.covers("sec:renew")
def test_a_front_finishes_a_renewal_that_was_cut_off_between_its_two_renames(site: Site) -> None:
    new = site.agents.issue(front.NAME, dns=[front.NAME], ends=9 * DAY).write(site.folder / "new", "new")
    shutil.copy(new.key, site.files.key)
    shutil.copy(new.certificate, site.files.certificate.with_name("agent.crt.new"))
    with site.serving() as serving:
        assert site.described(serving).agent.name == front.NAME
    assert site.files.certificate.read_bytes() == new.certificate.read_bytes()


def enroll(site: Site, step: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    words = [str(PROGRAM), "enroll", step, "--config", str(site.config)]
    return subprocess.run(words, env=ENVIRONMENT, input=given, capture_output=True, timeout=20, check=False)


def test_an_agent_is_enrolled_by_a_request_and_what_was_signed_for_it(site: Site) -> None:
    site.files.key.unlink()
    site.files.certificate.unlink()
    asked = enroll(site, "request")
    assert (asked.returncode, asked.stderr) == (0, b"")
    issued = site.agents.issue("x", dns=[front.NAME], public=public(asked.stdout), ends=8 * DAY)
    done = enroll(site, "accept", pem(issued.certificate))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert site.files.key.stat().st_mode & 0o777 == 0o600
    with site.serving() as serving:
        assert site.ends(serving) == int(issued.certificate.not_valid_after_utc.timestamp())


def test_what_can_not_be_enrolled_is_refused_in_one_line(site: Site) -> None:
    before = site.files.certificate.read_bytes()
    early = enroll(site, "accept", before)
    assert (early.returncode, early.stderr) == (
        65,
        b"fleetmedic-agent: standard input: no key waits for a certificate: ask for a request first\n",
    )
    request = enroll(site, "request").stdout
    wrong = site.agents.issue("x", dns=["db02"], public=public(request))
    for given, why in (
        (pem(wrong.certificate), b"the certificate is not for db01, and for it alone"),
        (b"junk", b"is no PEM certificate"),
        (b"", b"is no PEM certificate"),
        (before, b"the certificate is for another key than the one that was asked for last"),
    ):
        done = enroll(site, "accept", given)
        assert (done.returncode, done.stderr) == (65, b"fleetmedic-agent: standard input: " + why + b"\n")
    assert site.files.certificate.read_bytes() == before
    site.config.write_text(f'front_user = "nobody"\n{site.config.read_text()}')
    done = enroll(site, "request")
    assert done.returncode == 65
    assert b"front_user: the key is to be nobody's own: runuser -u nobody -- fleetmedic-agent enroll" in done.stderr
    site.config.write_text('name = "db01"\n')
    done = enroll(site, "request")
    assert (done.returncode, done.stderr.count(b"\n")) == (65, 1)
    assert b"[tls] is missing" in done.stderr
