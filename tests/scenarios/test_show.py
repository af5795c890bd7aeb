"""fleetmedic show as a responder uses it, over real agents."""

import json
import re
from pathlib import Path

import pytest

from tests.lab import agents, child
from tests.lab.agents import Desk, Fleet
from tests.lab.postgres import Postgres
from tests.lab.redis import Redis


@pytest.mark.covers("exp:show")
def test_one_table_has_the_rows_of_every_host_and_says_which_could_not_be_seen(
    site: Fleet, desk: Desk, postgres: Postgres, redis: Redis
) -> None:
    lonely = agents.run(desk, "web03", port=7473, top="discover = false")
    with lonely as second, agents.fleet(desk, [*site.agents, second]) as fleet:
        dead = fleet.inventory.with_name("with-dead.yml")
        dead.write_text(
            fleet.inventory.read_text() + "    dead01: {fleetmedic_address: 127.0.0.1, fleetmedic_port: 7499}\n"
        )
        with child.stopped(redis.pid):
            done = desk.run("show", "keyspace", "-i", dead)
    assert done.code == 6, done.out + done.err
    assert "NOT SEEN  dead01  TCP 7499 refused" in done.out
    assert re.search(r"NOT SEEN  db01  127.0.0.1:6379: .*timeout", done.out)
    assert "- web03  no Redis found" in done.out
    assert done.out.splitlines()[-1] == "keyspace: 0 rows from 3 hosts"


@pytest.mark.covers("exp:show")
def test_a_kept_run_is_shown_as_it_was(site: Fleet, redis: Redis) -> None:
    with child.stopped(redis.pid):
        code = site.check().code
    assert code == 2
    kept = site.desk.run("runs", "list", "--most", "1").out.split()[0]
    done = site.desk.run("show", "processes", "--run", kept, "--json")
    assert (done.code, "did not look at that" in done.err) == (65, True)
    disk = site.desk.run("show", "disk", "--run", kept, "--json")
    rows = [json.loads(line) for line in disk.out.splitlines()]
    assert "/" in [row.get("path") for row in rows]


@pytest.mark.covers("exp:show")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["sesions"], 64, "'sesions' is not one of 'sessions'"),
        (["sessions", "nowhere"], 65, "nowhere"),
        (["sessions", "--run", "ZZZZ"], 65, "no run 'ZZZZ'"),
        (["sessions", "--run", "ZZZZ", "--service", "x"], 64, "--service goes with a new look"),
        (["sessions", "--most", "0"], 64, "--most"),
    ],
)
def test_bad_words_get_one_line_and_their_exit_code(site: Fleet, words: list[str], code: int, said: str) -> None:
    done = site.desk.run("show", *words, "-i", site.inventory)
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.covers("exp:show")
def test_this_machine_is_shown_without_an_inventory(desk: Desk, lab: Path, redis: Redis) -> None:
    assert lab.exists()
    done = desk.run("show", "processes", "--most", "3")
    assert done.code == 0, done.err
    assert "3 rows from 1 host, " in done.out
    assert redis.pid
