"""Which containers are inspected where there are many, what the list tells of the others, and which are seen twice."""

import time
from pathlib import Path

from agent.engine import Engine, EngineError
from agent.probes import docker
from fleetmedic.v1.snapshot_pb2 import DockerSnapshot


class Many(Engine):
    """An engine with the rows of a list, that answers no more than their state when one is inspected."""

    __slots__ = ()
    rows: tuple[dict[str, object], ...] = ()

    def get(self, path: str) -> object:
        if path.startswith("/containers/json"):
            return list(self.rows)
        identity = path.split("/")[2]
        row = next(row for row in self.rows if row["Id"] == identity)
        standing = {"Status": row["State"], "StartedAt": row.get("StartedAt", ""), "Health": row.get("Health")}
        return {"Id": identity, "Name": f"/{identity}", "State": standing}


def row(name: str, state: str = "running", status: str = "Up 3 days", **more: object) -> dict[str, object]:
    return {"Id": name, "Names": [f"/other/{name}-alias", f"/{name}"], "State": state, "Status": status, **more}


def looked(*rows: dict[str, object], expected: tuple[str, ...] = ()) -> DockerSnapshot:
    made = DockerSnapshot(expected=expected)
    engine = type("Listing", (Many,), {"rows": rows})(str(Path("/nowhere")), 1.0)
    docker.read_containers(engine, made)
    return made


CROWD = tuple(row(f"crowd{number}") for number in range(docker.MOST_INSPECTED))


def test_an_expected_container_is_seen_however_many_there_are() -> None:
    labels = {"com.docker.compose.service": "db", "com.docker.compose.project": "shop"}
    made = looked(*CROWD, row("web"), row("shop-db-1", Labels=labels), expected=("web", "db"))
    assert [item.name for item in made.containers[:2]] == ["web", "shop-db-1"]
    assert len(made.containers) == docker.MOST_INSPECTED
    assert [item.name for item in made.listed] == ["crowd198", "crowd199"]


def test_those_that_restart_or_ended_last_are_inspected_before_the_others() -> None:
    trouble = (
        row("long-ago", "exited", "Exited (0) 7 months ago"),
        row("lately", "exited", "Exited (1) About a minute ago"),
        row("now", "running", "Up 2 seconds"),
        row("loops", "restarting", "Restarting (1) 4 days ago"),
    )
    made = looked(*CROWD, *trouble)
    assert [item.name for item in made.containers[:3]] == ["loops", "now", "lately"]
    assert "long-ago" in {item.name for item in made.listed}


def test_the_list_tells_name_state_exit_code_image_and_service() -> None:
    labels = {"com.docker.compose.service": "db", "com.docker.compose.project": "shop"}
    old = row("old", "exited", "Exited (137) 2 years ago", Labels=labels, Image="app:1", ImageID="sha256:1")
    (listed,) = looked(*CROWD, old).listed
    assert (listed.name, listed.state, listed.exit_code, listed.image) == ("old", "exited", 137, "app:1")
    assert (listed.compose_project, listed.compose_service, listed.image_id) == ("shop", "db", "sha256:1")


def test_a_row_without_names_or_labels_is_no_reason_to_fail() -> None:
    bare: dict[str, object] = {"Id": "x", "Names": None, "Labels": None, "Status": "Exited (1) 9 years ago"}
    (listed,) = looked(*CROWD, bare).listed
    assert (listed.id, listed.name, listed.exit_code) == ("x", "", 1)


NOW = 1_700_000_000.0
JUST_NOW = "2023-11-14T22:13:20.9Z"
LONG_AGO = "2023-11-14T22:13:10Z"


def ended(code: int, finished: str = JUST_NOW, policy: str = "always") -> dict[str, object]:
    state = {"Status": "exited", "ExitCode": code, "FinishedAt": finished}
    return {"Id": "x", "Name": "/web", "State": state, "HostConfig": {"RestartPolicy": {"Name": policy}}}


RUNS: dict[str, object] = {"Id": "x", "Name": "/web", "State": {"Status": "running"}}


def settled(*looks: dict[str, object], seconds: float = 5.0) -> tuple[list[str], int]:
    """The states that remain, and how often it was looked; each look sees the next of `looks`, then the last one."""
    made, seen = DockerSnapshot(), []

    def inspect(path: str) -> object:
        seen.append(path)
        if path.startswith("/containers/json"):
            return [{"Id": "x", "Names": ["/web"]}]
        look = looks[min(len(seen) - 2, len(looks) - 1)]
        if not look:
            raise EngineError("no such container", 404)
        return look

    engine = type("Answering", (Engine,), {"__slots__": (), "get": lambda _, path: inspect(path)})("/nowhere", 1.0)
    docker.read_containers(engine, made)
    docker.settle(engine, made, time.monotonic() + seconds, NOW)
    return [item.state for item in made.containers], len(seen) - 1


def test_a_container_that_is_being_restarted_is_not_taken_for_one_that_has_ended() -> None:
    assert settled(ended(143), ended(143), RUNS) == (["running"], 3)
    assert settled(ended(0), {}) == ([], 2), "one that is removed meanwhile is no finding either"


def test_a_container_that_stays_stopped_is_told_so_in_time() -> None:
    states, looks = settled(ended(137), seconds=0.5)
    assert states == ["exited"]
    assert looks > 2


def test_what_is_no_restart_is_not_waited_for() -> None:
    for look in (ended(1), ended(143, LONG_AGO), ended(0, policy="no"), RUNS):
        assert settled(look)[1] == 1


def test_of_health_checks_those_count_that_ended_after_the_start_whatever_the_daemon_s_zone() -> None:
    """Docker tells a start in UTC and a check's end in its own zone; what is from before a restart is kept too."""
    for end, said in (
        ("2026-01-01T10:59:00.123456789+01:00", ""),
        ("2026-01-01T11:01:00.123456789+01:00", "no route"),
        ("2026-01-01T05:01:00-05:00", "no route"),
        ("2026-01-01T04:59:00-05:00", ""),
        ("2026-01-01T10:01:00Z", "no route"),
        ("whenever", ""),
    ):
        health = {"Status": "unhealthy", "Log": [{"End": end, "Output": "no route", "ExitCode": 1}]}
        made = looked(row("web", StartedAt="2026-01-01T10:00:00.66Z", Health=health))
        assert made.containers[0].health_output == said, end
