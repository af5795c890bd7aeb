"""The report of a real incident, and the example of it in the documents: its structure is what the code makes now."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.lab import demo, example_report, fixtures

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def made(lab: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Play the lock fault with a healthy check before, two during and one after, and report on it."""
    fixtures.need()
    folder = lab / "example"
    folder.mkdir(mode=0o755)
    # On free ports: the session's own servers have the usual ones.
    with demo.stage(folder, time.monotonic()) as running:
        # A timeline is in order to the second: a look must not share one with what the look before it saw.
        example_report.play(running, pause=1.1)
        text, document = example_report.report(running.desk, folder / "made")
        yield text.read_text(), json.loads(document.read_text())


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ .*", text, re.MULTILINE)


def keys(value: object) -> object:
    """The structure of a document without its values; a list is as its first item."""
    if isinstance(value, dict):
        return {name: keys(item) for name, item in value.items()}
    if isinstance(value, list):
        return [keys(value[0])] if value else []
    return None


@pytest.mark.covers("exp:I5")
def test_a_real_fault_is_told_with_its_onset_its_consequence_and_its_end(
    made: tuple[str, Mapping[str, object]],
) -> None:
    text, document = made
    timeline = text.partition("## Timeline")[2].partition("## Root cause")[0]
    row = re.compile(r"^\| [\d:]+Z \| (check|first seen|gone) \|(?: \*\*(\w+)\*\*: ([A-Z-]+))?", re.MULTILINE)
    rows = row.findall(timeline)
    # The first to be seen is that of the agent that answered first.
    assert sorted(rows[2:4]) == [("first seen", "db01", "PG-LOCK-ROOT"), ("first seen", "web01", "HTTP-HEALTH")]
    assert sorted(rows[-2:]) == [("gone", "db01", "PG-LOCK-ROOT"), ("gone", "web01", "HTTP-HEALTH")]
    assert rows[:2] + rows[4:-2] == [("check", "", "")] * 4
    cause = text.partition("## Root cause")[2].partition("## Contributing")[0]
    assert re.search(r"1\. \*\*PG-LOCK-ROOT\*\* on db01", cause)
    assert re.search(r"2\. \*\*HTTP-HEALTH\*\* on web01.*\n +- \*\*Likely a consequence\*\* of PG-LOCK-ROOT", cause)
    assert document["services"] == {
        "affected": {"orders": {"hosts": ["web01"], "of": 1}, "postgres": {"hosts": ["db01"], "of": 1}},
        "since_before": [],
        "warned": [],
        "unaffected": ["redis"],
    }
    assert "All of it had been found well again" in text
    assert "nightly-report" in text


@pytest.mark.covers("exp:documents")
def test_the_example_in_the_documents_has_the_structure_of_what_is_made_now(
    made: tuple[str, Mapping[str, object]],
) -> None:
    text, document = made
    shown = (EXAMPLES / "incident-report.md").read_text()
    assert headings(shown) == headings(text)
    assert keys(json.loads((EXAMPLES / "incident-report.json").read_text())) == keys(document)
    prompts = re.compile(r"^.*TO FILL(?!.*\bwaits\b).*$", re.MULTILINE)
    assert prompts.findall(shown) == prompts.findall(text)


@pytest.mark.covers("exp:documents")
@pytest.mark.parametrize("kind", ["md", "json"])
def test_the_example_names_the_demos_hosts_and_no_path_of_a_machine(kind: str) -> None:
    shown = (EXAMPLES / f"incident-report.{kind}").read_text()
    assert {"web01", "db01"} <= set(re.findall(r"\b(?:web|db|cache)\d\d\b", shown))
    assert not re.search(r"/(tmp|home|root|work|var|usr)/|fm-", shown)
