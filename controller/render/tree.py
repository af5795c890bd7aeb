"""A check as files: for each host one for people and one for programs, and a summary of both kinds."""

import io
import json
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from controller import writing
from controller.host_report import HostReport
from controller.render import check_json, check_text, run_text
from controller.render.check_text import View
from controller.render.paper import Paper
from controller.snoozing import Rest, Resting
from controller.store.runs import Run

SUMMARY = "summary"
UNSAFE = re.compile(r"^[.-]|[^A-Za-z0-9._-]")
# A name may have 255 bytes; a suffix comes after.
LONGEST_NAME = 200
WIDTH = 100


def write(folder: Path, whole: Run, run: Run, view: View) -> None:
    """HOST.json, HOST.txt, summary.json and summary.txt; each is whole, and in place of an older one. OSError.

    `whole` is the run as it was found, `run` without what is snoozed, which `view` has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {report.host: file_name(report.host) for report in run.reports}
    aside: dict[str, list[Resting]] = {}
    for item in view.rest.resting:
        aside.setdefault(item.host, []).append(item)
    for report in run.reports:
        one = {"schema": check_json.SCHEMA, "run": run.id, **check_json.host(report, aside.get(report.host, ()))}
        writing.replace(folder / f"{files[report.host]}.json", json.dumps(one, indent=2) + "\n")
    for report in whole.reports:
        writing.replace(folder / f"{files[report.host]}.txt", _host_text(whole, report, view.rest))
    summary = {**check_json.summary(run, view.rest), "states_by_host": _states(run), "files": files}
    writing.replace(folder / f"{SUMMARY}.json", json.dumps(summary, indent=2) + "\n")
    writing.replace(folder / f"{SUMMARY}.txt", _summary_text(run, view))


def file_name(host: str) -> str:
    """The host's name as a file may be called, one for each: signs that a path or a shell knows are percent-encoded."""
    safe = UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), host)
    if safe == SUMMARY:
        return f"%{ord(safe[0]):02X}{safe[1:]}"
    if len(safe) > LONGEST_NAME:
        return f"{safe[:LONGEST_NAME]}%{sha256(host.encode('utf-8', 'replace')).hexdigest()[:16]}"
    return safe or "%"


def _states(run: Run) -> dict[str, str]:
    return {report.host: report.state.value for report in run.reports}


def _plain() -> tuple[io.StringIO, Paper]:
    stream = io.StringIO()
    return stream, Paper(stream, terminal=False, colour=False, unicode=True, width=WIDTH)


def _host_text(run: Run, report: HostReport, rest: Rest) -> str:
    stream, paper = _plain()
    run_text.body(paper, replace(run, reports=(report,)), report.host, rest)
    return stream.getvalue()


def _summary_text(run: Run, view: View) -> str:
    stream, paper = _plain()
    check_text.body(paper, run, view)
    return stream.getvalue()
