"""Freezes and alarms of hosts: in one line each for people, whole for programs, harmless for both."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.render import frozen_text
from controller.render.escape import HOSTILE
from controller.render.paper import paper
from fleetmedic.v1.agent_pb2 import Freeze, Standing

AT = 1_700_000_000


def frozen(reason: str, user: str = "alice", *alarms: str) -> Standing:
    made = Standing(freeze=Freeze(reason=reason, user=user), alarms=alarms)
    made.freeze.since_time.seconds = AT
    return made


def written(*standings: tuple[str, Standing], alarms: bool = True) -> str:
    stream = io.StringIO()
    frozen_text.write(paper(stream, {}, 100, no_colour=True), standings, alarms=alarms)
    return stream.getvalue()


@pytest.mark.covers("sec:freeze")
def test_hosts_that_are_frozen_alike_are_one_line_and_each_alarm_is_another() -> None:
    seen = [("db01", frozen("deploy", "alice", "disk full")), ("db02", frozen("deploy")), ("web01", Standing())]
    assert written(*seen) == (
        "FROZEN 2 hosts: deploy (alice, since 2023-11-14T22:13:20Z)   db01 db02\nALARM db01: disk full\n"
    )
    assert "ALARM" not in written(*seen, alarms=False)
    assert frozen_text.records(seen) == [
        {"hosts": ["db01", "db02"], "reason": "deploy", "user": "alice", "since": "2023-11-14T22:13:20Z"}
    ]
    assert frozen_text.standing(seen[0][1])["alarms"] == ["disk full"]
    assert written(("web01", Standing())) == ""


@pytest.mark.covers("sec:B5", "sec:B7")
@given(st.text(), st.text(), st.lists(st.text(), max_size=12))
def test_whatever_a_host_calls_its_freeze_and_alarms_is_shown_harmless(
    reason: str, user: str, texts: list[str]
) -> None:
    seen = ("db01", frozen(reason, user, *texts))
    shown = written(seen)
    assert not HOSTILE.search(shown.replace("\n", ""))
    assert shown.count("\n") <= 1 + frozen_text.MOST_ALARMS
    assert len(json.dumps(frozen_text.standing(seen[1]))) < 200_000
