"""Ties tests to requirements: reads the marks, keeps the evidence of fault tests, holds docs/coverage.md to both.

A row of tests/requirements/*.txt is `id | requirement`. A test says `@pytest.mark.covers("sec:A1")`. A `chk:RULE-ID`
also needs evidence: the finding, sent by a real agent over mutual TLS while the fault was there, and its absence in the
healthy twin.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "tests" / "requirements"
PAGE = ROOT / "docs" / "coverage.md"
PREFIXES = ("chk:", "exp:", "inv:", "sec:", "perf:")
# What is run beside everything else, in a sandbox of its own: installing and looking over SSH is waiting, mostly.
BESIDE = ("tests/controller/bootstrap/", "tests/controller/cli/test_via_ssh.py", "tests/controller/test_visiting.py")
BAD = frozenset({"warn", "crit", "error"})
# Rules that tell of what is no fault in itself: with what they look for they say info, without it ok.
NEWS = frozenset({"DEPLOY-RECENT"})
RULE_FILES = ROOT / "agent" / "rules"


@dataclass
class Evidence:
    """What fault tests saw of real agents, by rule id; `covered` maps requirement ids to tests."""

    faults: set[str] = field(default_factory=set)
    healthy: set[str] = field(default_factory=set)
    covered: dict[str, set[str]] = field(default_factory=dict)

    def fault(self, rule: str, findings: Iterable[Mapping[str, Any]], **subject: str) -> Mapping[str, Any]:
        """The bad finding of a rule (about the subject, where fields are given); fails where there is none."""
        seen = [item for item in findings if item["id"] == rule and _about(item, subject)]
        bad = [item for item in seen if item["status"] in _told(rule)]
        assert bad, f"{rule} is not among what is bad: {[(item['status'], item['summary']) for item in seen]}"
        self.faults.add(rule)
        return bad[0]

    def well(self, rule: str, findings: Iterable[Mapping[str, Any]], **subject: str) -> None:
        """Holds that a rule looked, and found nothing bad."""
        seen = [item for item in findings if item["id"] == rule and _about(item, subject)]
        bad = [item for item in seen if item["status"] in _told(rule)]
        assert not bad, f"{rule} without a fault: {bad}"
        assert any(item["status"] == "ok" for item in seen), f"{rule} did not look: {seen}"
        self.healthy.add(rule)


def _told(rule: str) -> frozenset[str]:
    return BAD | {"info"} if rule in NEWS else BAD


def _about(item: Mapping[str, Any], subject: Mapping[str, str]) -> bool:
    return all(item[key] == value for key, value in subject.items())


KEY = pytest.StashKey[Evidence]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-coverage", action="store_true", help="write docs/coverage.md from the marks")
    parser.addoption("--part", choices=["beside", "others"], help="of the whole suite this part alone")
    parser.addoption(
        "--no-skips", action="store_true", help="a skipped test fails: everything it needs is to be had here"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[KEY] = Evidence()


@pytest.fixture(scope="session")
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Record what real agents said under a fault and without it."""
    return request.config.stash[KEY]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    covered = config.stash[KEY].covered
    for item in items:
        name = item.nodeid.partition("[")[0]
        for mark in item.iter_markers("covers"):
            for requirement in mark.args:
                covered.setdefault(requirement, set()).add(name)
    if part := config.option.part:
        left = {item for item in items if item.nodeid.startswith(BESIDE) != (part == "beside")}
        config.hook.pytest_deselected(items=list(left))
        items[:] = [item for item in items if item not in left]


def rows() -> Mapping[str, str]:
    """Every requirement; those of the catalogue's rules are the rules' own titles."""
    made = {}
    for file in sorted(REQUIREMENTS.glob("*.txt")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            identity, bar, text = (part.strip() for part in line.partition("|"))
            if not line.strip():
                continue
            if not bar or not identity.startswith(PREFIXES) or not text or identity in made:
                raise pytest.UsageError(f"{file}:{number}: wants `id | requirement`, each id once: {line!r}")
            made[identity] = text
    return made | {f"chk:{identity}": title for identity, title in rules().items()}


def rules() -> Mapping[str, str]:
    """The catalogue as its files have it: id to the good state."""
    files = [file for file in RULE_FILES.glob("*/*.py") if file.name != "__init__.py"]
    return {
        file.stem.upper().replace("_", "-"): file.read_text().removeprefix('"""').partition("\n")[0].rstrip('"')
        for file in sorted(files)
    }


def page(covered: Mapping[str, set[str]]) -> str:
    lines = [
        "# Coverage",
        "",
        "Which test holds which requirement. Written by `make docs` from the tests' own marks; `make test` fails where",
        "it is out of date. The prefix names the page of requirements: checks, experience, inventory, security,",
        "performance.",
        "",
        "| id | requirement | tests |",
        "|---|---|---|",
    ]
    table = rows()
    for identity in sorted(table, key=_natural):
        tests = " ".join(f"{name}" for name in sorted(covered.get(identity, ())))
        lines.append(f"| {identity} | {table[identity]} | {tests} |")
    return "\n".join(lines) + "\n"


def _natural(identity: str) -> tuple[str, str, int, str]:
    prefix, _, rest = identity.partition(":")
    letters = rest.rstrip("0123456789")
    number = rest[len(letters) :]
    return prefix, letters, int(number or 0), rest


def _whole(config: pytest.Config) -> bool:
    """Whether the whole suite is run: only then can anything be missing."""
    return config.args_source != config.ArgsSource.ARGS and not config.option.keyword and not config.option.markexpr


def _complaints(config: pytest.Config) -> list[str]:
    seen = config.stash[KEY]
    table = rows()
    said = [
        f"{identity} is marked, and no row of tests/requirements says what it is"
        for identity in seen.covered.keys() - table.keys()
    ]
    said += [f"{identity} ({text}) has no test" for identity, text in table.items() if identity not in seen.covered]
    # Every fault is seen by a scenario, and those are among the others.
    if not config.option.collectonly and config.option.part != "beside":
        said += [f"{rule}: no fault test saw it from a real agent" for rule in rules() if rule not in seen.faults]
        said += [f"{rule}: no healthy twin saw it well" for rule in rules() if rule not in seen.healthy]
    if not PAGE.exists() or PAGE.read_text() != page(seen.covered):
        said.append(f"{PAGE.relative_to(ROOT)} is out of date: make docs")
    return sorted(said)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    if config.option.write_coverage:
        PAGE.write_text(page(config.stash[KEY].covered))
    elif _whole(config) and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        config.stash[COMPLAINTS] = _complaints(config)
        if config.stash[COMPLAINTS]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


COMPLAINTS = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    complaints = config.stash.get(COMPLAINTS, [])
    if complaints:
        terminalreporter.section("coverage of requirements", red=True)
        for line in complaints:
            terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        rows = sorted({requirement for mark in item.iter_markers("covers") for requirement in mark.args})
        report.longrepr = (*report.longrepr[:2], f"{report.longrepr[2]} [{' '.join(rows) or 'no row'}]")
    if report.skipped and item.config.option.no_skips and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report
