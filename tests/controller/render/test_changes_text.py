"""What changed, for people and programs: bad news first, the unchanged counted, one line for each transition."""

import json
from dataclasses import replace
from typing import TextIO

import pytest

from controller import changes, snoozing
from controller.changes import Changes
from controller.host_report import HostReport
from controller.render import changes_json, changes_text
from controller.render.check_text import Again, View
from controller.render.paper import paper
from controller.snoozing import Rest
from controller.store.runs import Run
from controller.store.snoozes import About, Snooze
from fleetmedic.v1.finding_pb2 import STATUS_CRIT
from tests.controller import reports, terminal
from tests.controller.reports import NOW, answered, finding, silent

HELD = Snooze(
    "K4TP",
    "PG-CONN-SATURATION",
    "",
    "pool fix at 18:00",
    "alice",
    NOW - 60,
    NOW + 1800,
    (About("db01", "postgres", "host", "127.0.0.1:5432", STATUS_CRIT),),
)


def _next(report: HostReport) -> HostReport:
    full = answered(report.host, finding("HOST-DISK-SPACE", STATUS_CRIT, "host", "/", "97% full"))
    return {
        "app01": silent("app01"),
        "app02": full,
        "app03": full,
        "app07": answered("app07", finding("HTTP-HEALTH", service="backend", name="backend")),
        "app11": answered("app11", finding("HTTP-HEALTH", service="backend", name="backend")),
        "lb01": answered("lb01", finding("TLS-EXPIRY", STATUS_CRIT, "tls", "api.example.com:443", "expires in 3d")),
        "cache02": answered("cache02", finding("REDIS-UP", service="redis")),
    }.get(report.host, report)


def changed() -> tuple[Run, Rest, Changes]:
    first = replace(reports.forty_hosts(), started_at=NOW - 200)
    second = replace(first, id="RRT2", started_at=NOW - 4, reports=tuple(map(_next, first.reports)), exit_code=6)
    shown, rest = snoozing.apply(second, (HELD,), NOW)
    found = changes.compare(first, second)
    return shown, rest, changes.without(found, [(item.host, item.finding) for item in rest.resting])


def view(rest: Rest) -> View:
    return View(everything=False, folded=True, again=Again("fleetmedic check {hosts}"), now=NOW, rest=rest)


@pytest.mark.covers("exp:new", "exp:diff", "exp:X12", "exp:snooze")
def test_at_a_terminal_bad_news_comes_first_good_news_folded_after_it_and_totals_last() -> None:
    shown, rest, found = changed()

    def write(stream: TextIO) -> None:
        changes_text.body(paper(stream, {}, 100, no_colour=True), shown, found, view(rest), 6)

    text = terminal.written(100, write)
    assert text == (
        "✗ CRIT    app02,03        new  HOST-DISK-SPACE  host /: 97% full (same on 2 hosts)\n"
        "✗ CRIT    lb01            was warn  TLS-EXPIRY  tls api.example.com:443: expires in 3d\n"
        "? UNREACH app01           was ok: TCP 7443 refused\n"
        "✓ GONE    app07,11        HTTP-HEALTH  backend: was crit\n"
        "✓ BACK    cache02         answers again, was unreachable\n"
        "- SNOOZED db01            PG-CONN-SATURATION  postgres 127.0.0.1:5432 (crit): pool fix at 18:00, by\n"
        "                          alice until 15:10Z (30m left)   snooze K4TP\n"
        "! SNOOZE  db01            snooze K4TP of PG-CONN-SATURATION ends in 30m: pool fix at 18:00 (snoozed\n"
        "                          by alice)\n"
        "\n"
        "1 finding stands as in run 7F3K\n"
        "since run 7F3K (3m earlier): 2 new  1 worse  0 better  2 gone  1 host fell silent  1 host came back\n"
        "40 hosts: 34 ok  1 warn  3 failed  1 unreachable  1 snoozed   55 checks in 3.4s   run RRT2\n"
        "details: fleetmedic runs show RRT2   exit code 6\n"
        "again: fleetmedic check app01,app02,app03,lb01,lb02\n"
    )


@pytest.mark.covers("exp:watch")
def test_a_transition_is_one_line_with_time_sign_host_and_both_states() -> None:
    _, _, found = changed()

    def write(stream: TextIO) -> None:
        changes_text.transitions(paper(stream, {}, 100, no_colour=True), found, NOW)

    assert terminal.written(100, write).splitlines() == [
        "14:40:00Z  ✗ CRIT    app02           HOST-DISK-SPACE  host /  not there -> crit: 97% full",
        "14:40:00Z  ✗ CRIT    app03           HOST-DISK-SPACE  host /  not there -> crit: 97% full",
        "14:40:00Z  ✗ CRIT    lb01            TLS-EXPIRY  tls api.example.com:443  warn -> crit: expires in 3d",
        "14:40:00Z  ✓ OK      app07           HTTP-HEALTH  backend  crit -> ok",
        "14:40:00Z  ✓ OK      app11           HTTP-HEALTH  backend  crit -> ok",
        "14:40:00Z  ? UNREACH app01           ok -> unreachable: TCP 7443 refused",
        "14:40:00Z  ✓ BACK    cache02         unreachable -> ok",
    ]


@pytest.mark.covers("exp:diff", "exp:R4")
def test_programs_get_a_record_for_each_change_and_what_stands_counted() -> None:
    shown, rest, found = changed()
    whole = json.loads(changes_json.document(shown, found, rest, 6))
    assert (whole["type"], whole["schema"], whole["baseline"], whole["run"]) == (
        "changes",
        "fleetmedic-changes/1",
        "7F3K",
        "RRT2",
    )
    assert whole["counts"] == {"new": 2, "worse": 1, "better": 0, "gone": 2, "silent": 1, "back": 1}
    assert (whole["standing"], whole["standing_hosts"], whole["not_looked_at"], whole["exit_code"]) == (1, 0, 0, 6)
    assert [item["snooze"] for item in whole["snoozed"]] == ["K4TP"]
    assert whole["changes"][0] == {
        "change": "new",
        "host": "app02",
        "id": "HOST-DISK-SPACE",
        "service": "host",
        "kind": "host",
        "name": "/",
        "was": None,
        "now": "crit",
        "summary": "97% full",
    }
    assert whole["changes"][-1] == {"change": "back", "host": "cache02", "was": "unreachable", "now": "ok", "cause": ""}
