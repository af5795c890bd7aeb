"""The rules about dependencies, front pages, Python servers and deployments, over snapshots made by hand."""

import pytest

from fleetmedic.v1.snapshot_pb2 import (
    Asset,
    DependencySnapshot,
    HttpSnapshot,
    PageSnapshot,
    PythonProcess,
    PythonSnapshot,
    Sample,
    Snapshot,
)
from tests.agent.rules.judged import NOW, container, docker, duration, judge, one, sample, status, statuses, target


def needed(*, url: str = "", expected: int = 0, **fields: object) -> Snapshot:
    made = target("dependency", url=url, expected_status=expected)
    return Snapshot(target=made, dependency=DependencySnapshot(**fields))  # type: ignore[arg-type]


def answered(code: int, seconds: float = 0.01) -> HttpSnapshot:
    return HttpSnapshot(status=code, reason_phrase="said", processing=duration(seconds))


@pytest.mark.parametrize(
    ("error_class", "said"),
    [
        ("dns", "has no address here"),
        ("refused", "refuses connections"),
        ("timeout", "does not answer"),
        ("unreachable", "can't be reached from here"),
        ("cut", "cuts connections off"),
    ],
)
def test_each_way_not_to_be_reached_has_its_own_words(error_class: str, said: str) -> None:
    found = one("DEP-TCP", needed(error_class=error_class, error_text="text"))
    assert (statuses([found]), found.summary) == (["crit"], f"{said} (text)")
    assert found.next


@pytest.mark.parametrize(("seconds", "expected"), [(1.0, "ok"), (1.01, "warn")])
def test_a_slow_connection_is_a_warning(seconds: float, expected: str) -> None:
    assert status("DEP-TCP", needed(connect=duration(seconds))) == expected


@pytest.mark.parametrize(
    ("code", "expected", "judgement"),
    [(200, 0, "ok"), (302, 0, "ok"), (400, 0, "crit"), (503, 0, "crit"), (401, 401, "ok"), (200, 401, "crit")],
)
def test_a_url_is_judged_by_a_success_or_by_the_status_that_is_expected(
    code: int, expected: int, judgement: str
) -> None:
    assert status("DEP-HTTP", needed(url="http://x/", expected=expected, http=answered(code))) == judgement


def test_an_untrusted_certificate_a_slow_answer_and_none_at_all_are_told_apart() -> None:
    assert status("DEP-HTTP", needed(url="https://x/", http=answered(200), certificate_error="expired")) == "warn"
    assert status("DEP-HTTP", needed(url="https://x/", http=answered(200, 1.01))) == "warn"
    hung = HttpSnapshot(error_class="timeout", phase="processing", error_text="no answer in 5 s")
    assert status("DEP-HTTP", needed(url="https://x/", http=hung)) == "crit"
    assert status("DEP-HTTP", needed(url="https://x/", error_class="refused")) == "skipped"
    assert judge("DEP-HTTP", needed()) == []


def page(*assets: Asset, status: int = 200, **fields: object) -> Snapshot:
    made = PageSnapshot(page=HttpSnapshot(status=status), assets=assets, **fields)  # type: ignore[arg-type]
    made_of = Snapshot(target=target("page"), page=made)
    made_of.target.name = "http://web01:8080/shop"
    return made_of


def script(status: int = 200, content_type: str = "text/javascript", kind: str = "script") -> Asset:
    return Asset(url="http://x/a", kind=kind, status=status, content_type=content_type)


@pytest.mark.parametrize(
    ("asset", "said"),
    [
        (script(404), "404"),
        (script(content_type="text/html"), "200 with type text/html, which is no script"),
        (script(content_type="text/javascript", kind="stylesheet"), "which is no stylesheet"),
        (script(content_type=""), "200 with type of nothing"),
        (Asset(url="http://x/a", kind="script", error_text="timeout: no answer"), "timeout: no answer"),
    ],
)
def test_an_asset_with_a_wrong_status_or_type_is_named(asset: Asset, said: str) -> None:
    found = one("HTTP-ASSETS", page(script(), asset))
    assert statuses([found]) == ["crit"]
    assert "1 of 2 scripts and stylesheets can't be used" in found.summary
    assert said in found.summary
    assert not found.facts


def test_a_whole_page_tells_its_release_and_what_was_not_asked_for() -> None:
    whole = page(script(), script(kind="stylesheet", content_type="text/css"), release="ab12", elsewhere=2, left_out=1)
    found = one("HTTP-ASSETS", whole)
    said = "200 with 2 scripts and stylesheets, release ab12 (2 at other places and 1 more not asked for)"
    assert found.summary == said
    assert [(fact.name, fact.value) for fact in found.facts] == [("release of page at 8080/shop", "ab12")]


def test_a_page_that_is_not_there_is_critical() -> None:
    assert "the page: 502" in one("HTTP-ASSETS", page(status=502)).summary
    assert status("HTTP-ASSETS", page(status=301)) == "crit"


def server(*workers: int, expected: int = 0, program: str = "uvicorn", state: str = "S", **more: object) -> Snapshot:
    """A server with workers by their pids."""
    processes = [PythonProcess(pid=pid, start_ticks=pid, state=state, age_seconds=60) for pid in workers]
    made = PythonSnapshot(
        program=program,
        pid=1,
        expected_workers=expected,
        expected_by="--workers",
        workers=processes,
        **more,  # type: ignore[arg-type]
    )
    return Snapshot(target=target("python", pid=1, pid_start_ticks=7), python=made)


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (server(), "ok"),
        (server(2, 3), "ok"),
        (server(2, 3, expected=2), "ok"),
        (server(2, expected=2), "crit"),
        (server(2, 3, expected=2, state="Z"), "crit"),
        (server(expected=1), "ok"),
        (server(expected=1, program="gunicorn"), "crit"),
        (server(2, 3, 4, expected=2), "ok"),
    ],
)
def test_workers_are_counted_against_what_the_command_line_says(snapshot: Snapshot, expected: str) -> None:
    assert status("PY-PROCS", snapshot) == expected


def look(seconds_ago: float, *workers: int, first: str = "first 1 7") -> Sample:
    return sample(NOW - seconds_ago, **{first: 1.0}, **{f"worker {pid} {pid}": 1.0 for pid in workers})


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([look(240, 2, 3), look(120, 4, 5)], "crit"),
        ([look(240, 2, 3), look(120, 2, 3)], "ok"),
        ([look(120, 2, 3, 4, 5)], "ok"),
        ([look(240, 8, 7), look(120, 8, 3)], "ok"),
        ([look(240, 2, 3, first="first 9 9"), look(120, 4, 5)], "ok"),
    ],
)
def test_workers_that_die_between_every_two_looks_are_critical_and_one_reload_is_not(
    looks: list[Sample], expected: str
) -> None:
    made = server(8, 9, expected=2)
    made.earlier.extend(looks)
    assert status("PY-PROCS", made) == expected


def test_the_python_is_told_as_a_fact_and_one_that_can_not_be_read_is_skipped() -> None:
    found = one("PY-VERSION", server(version="3.11.2"))
    assert (found.summary, found.facts[0].value) == ("Python 3.11.2", "3.11.2")
    assert one("PY-VERSION", server(version_unread="needs root to read its interpreter")).reason.startswith(
        "needs root"
    )


def deployed(name: str, minutes_ago: float, **fields: object) -> Snapshot:
    made = container(name, image="shop:2", image_version="2.0.0", **fields)
    made.created_time.FromMilliseconds(int((NOW - 60 * minutes_ago) * 1000))
    return docker(made)


@pytest.mark.parametrize(("minutes", "expected"), [(0, "info"), (59, "info"), (60, "ok"), (600, "ok"), (-5, "ok")])
def test_a_deployment_of_the_last_hour_is_told(minutes: float, expected: str) -> None:
    assert status("DEPLOY-RECENT", deployed("web", minutes)) == expected


def test_a_deployment_is_told_with_its_release_and_a_job_is_none() -> None:
    assert (
        one("DEPLOY-RECENT", deployed("web", 12)).summary == "web was deployed 12m00s ago: image shop:2, release 2.0.0"
    )
    assert status("DEPLOY-RECENT", deployed("job", 1, passing=True)) == "ok"
    assert status("DEPLOY-RECENT", docker()) == "ok"
