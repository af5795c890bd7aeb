"""A check as files: two for each host and two for all, under names that harm no folder."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.render import tree
from controller.render.check_text import Again, View
from fleetmedic.v1.finding_pb2 import STATUS_CRIT
from tests.controller import reports

VIEW = View(everything=False, folded=True, again=Again("fleetmedic check {hosts}"), now=reports.NOW)


def test_each_host_has_two_files_and_all_have_a_summary(tmp_path: Path) -> None:
    run = reports.forty_hosts()
    tree.write(tmp_path / "made" / "deep", run, run, VIEW)
    made = {place.name for place in (tmp_path / "made" / "deep").iterdir()}
    hosts = reports.hosts(run.reports)
    assert made == {f"{name}.{kind}" for name in [*hosts, "summary"] for kind in ("txt", "json")}
    summary = json.loads((tmp_path / "made/deep/summary.json").read_text())
    assert (summary["hosts"], summary["exit_code"], summary["states_by_host"]["cache02"]) == (40, 6, "unreachable")
    assert "40 hosts: 34 ok" in (tmp_path / "made/deep/summary.txt").read_text()
    one = json.loads((tmp_path / "made/deep/db01.json").read_text())
    assert (one["host"], one["run"], one["schema"]) == ("db01", "7F3K", "fleetmedic-check/1")
    text = (tmp_path / "made/deep/db01.txt").read_text()
    assert "CRIT  PG-CONN-SATURATION" in text
    assert "app01" not in text


@pytest.mark.covers("sec:B4", "exp:C16")
@pytest.mark.parametrize("host", ["../evil", "/etc/passwd", "..", ".", ".hidden", "a/b", "a\nb", "summary", "x" * 300])
def test_no_name_of_a_host_leaves_the_folder_or_takes_the_place_of_another_file(tmp_path: Path, host: str) -> None:
    run = reports.run(reports.answered(host, reports.finding(status=STATUS_CRIT)), reports.answered("web01"))
    tree.write(tmp_path / "made", run, run, VIEW)
    assert {place.name for place in tmp_path.iterdir()} == {"made"}
    made = {place.name for place in (tmp_path / "made").iterdir()}
    assert len(made) == 6
    summary = json.loads((tmp_path / "made/summary.json").read_text())
    assert {f"{name}.json" for name in summary["files"].values()} | {"summary.json"} == {
        name for name in made if name.endswith(".json")
    }
    assert json.loads((tmp_path / "made" / f"{tree.file_name(host)}.json").read_text())["host"] == host


@pytest.mark.covers("exp:C16")
@given(st.text(), st.text())
def test_two_names_never_share_a_file(first: str, second: str) -> None:
    assert first == second or tree.file_name(first) != tree.file_name(second)


def test_a_second_check_into_the_same_folder_replaces_the_first(tmp_path: Path) -> None:
    _write(tmp_path, "AAAA")
    _write(tmp_path, "BBBB")
    assert json.loads((tmp_path / "web01.json").read_text())["run"] == "BBBB"
    assert len(list(tmp_path.iterdir())) == 4


def _write(folder: Path, identity: str) -> None:
    run = reports.run(reports.answered("web01"), identity=identity)
    tree.write(folder, run, run, VIEW)
