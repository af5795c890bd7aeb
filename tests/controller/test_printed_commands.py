"""Every fleetmedic command line that is printed anywhere parses against this version: rules, help, pages, real runs."""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
import pytest

from agent import registry
from controller.cli import COMMANDS, program
from tests.lab import agents
from tests.lab.waiting import free_port

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
# In running text a command ends where the sentence goes on.
INLINE = re.compile(r"`(fleetmedic(?: [^`]*)?)`")
FENCE = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
LABELLED = re.compile(r"(?:next:|again:|details:|all of it:)\s+(fleetmedic .*?)(?=   |$)")


def flaw(line: str) -> str | None:
    """Say what is wrong with a command line, without running it; None where it parses."""
    try:
        words = shlex.split(line.replace("{host}", "web01"))
    except ValueError as error:
        return str(error)
    if words[:1] != ["fleetmedic"]:
        return "is no fleetmedic command"
    try:
        _parse(words[1:])
    except click.exceptions.Exit:
        return None
    except click.UsageError as error:
        return error.format_message()
    return None


def mention(line: str) -> str | None:
    """As `flaw`, for running text, where a command's bare name may stand for it."""
    names = {" ".join(("fleetmedic", *path)) for path, _ in commands()}
    return None if line in names else flaw(line)


def _parse(words: Sequence[str]) -> None:
    command: click.Command = program
    name, rest, parent = "fleetmedic", list(words), None
    while True:
        context = command.make_context(name, rest, parent=parent)
        if not isinstance(command, click.Group):
            return
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        found, chosen, rest = command.resolve_command(context, rest)
        assert found is not None
        assert chosen is not None
        name, command, parent = found, chosen, context


def in_rules() -> Iterator[tuple[str, str]]:
    for rule in registry.load():
        for step in rule.next_steps:
            for place in re.finditer(r"\bfleetmedic\b(?=[ ])", step):
                yield rule.id, step[place.start() :]


def commands(
    group: click.Group = program, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path, groups too."""
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def examples(command: click.Command) -> list[str]:
    """The lines of a command's help that begin with fleetmedic, without what is said of them."""
    lines = [line.strip() for line in (command.help or "").splitlines()]
    return [re.split(r"\s{2,}", line)[0] for line in lines if line.startswith("fleetmedic ")]


def in_help() -> Iterator[tuple[str, str]]:
    for path, command in commands():
        for line in examples(command):
            yield " ".join(path) or "fleetmedic", line
        for text in (
            command.help or "",
            command.epilog or "",
            *(getattr(item, "help", None) or "" for item in command.params),
        ):
            for found in INLINE.finditer(text):
                yield " ".join(path), found[1]


def in_page(text: str) -> Iterator[str]:
    """Commands of a page's code blocks and inline code, without a prompt, a path before the name, and a comment."""
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            bare = re.sub(r"^\s*(?:[$#] )?(?:\S*/)?(?=fleetmedic )", "", line)
            if bare.startswith("fleetmedic "):
                yield re.split(r"\s+(?:#|\||>|&&|;)\s?|\s{3,}", bare)[0]
    for found in INLINE.finditer(FENCE.sub("", text)):
        if " " in found[1]:
            yield found[1]


def in_source(file: Path) -> Iterator[str]:
    """Commands that messages of the product quote."""
    for found in INLINE.finditer(file.read_text()):
        if " " in found[1] and "{" not in found[1]:
            yield found[1]


def printed(text: str) -> list[str]:
    """Commands that a run printed, with lines that a terminal wrapped left out: runs in tests are piped."""
    labelled = [found[1].strip() for line in text.splitlines() for found in LABELLED.finditer(line)]
    return labelled + [found[1] for found in INLINE.finditer(text)]


def wrong(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {f"{place}: {line}": said for place, line in lines if (said := mention(line))}


@pytest.mark.covers("exp:R15")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fleetmedic chek web01", "No such command 'chek'."),
        ("fleetmedic check web01 --inclde X", "No such option '--inclde'"),
        ("fleetmedic check web01 web02", "Got unexpected extra argument"),
        ("fleetmedic runs shw 7F3K", "No such command 'shw'."),
        ("fleetmedic runs show", "Missing argument 'RUN'."),
        ("fleetmedic pki issue robot x --dir a --out b", "Invalid value for '{agent|operator}'"),
        ("fleetmedic check 'web01", "No closing quotation"),
        ("fleetmedic check --format xml", "Invalid value for '--format'"),
    ],
)
def test_a_misspelt_command_is_found(line: str, said: str) -> None:
    assert said in (flaw(line) or "")


@pytest.mark.parametrize(
    "line",
    [
        "fleetmedic",
        "fleetmedic --help",
        "fleetmedic check {host} --include 'PG-*' --show all",
        "fleetmedic runs show 7F3K --host db01",
        "fleetmedic pki issue agent db01 --dir pki --out db01-tls",
        "fleetmedic check --help",
    ],
)
def test_a_right_command_parses(line: str) -> None:
    assert flaw(line) is None


def test_a_misspelt_command_on_a_page_is_found() -> None:
    page = (
        "Say `fleetmedic chek web01`.\n\n```sh\n$ .venv/bin/fleetmedic check --inclde X   # why\nmake demo\n```\n"
        "    and `fleetmedic` alone is a name\n"
    )
    assert [mention(line) is None for line in in_page(page)] == [False, False]


@pytest.mark.covers("exp:R19")
def test_every_next_step_of_every_rule_parses() -> None:
    steps = list(in_rules())
    assert len(steps) >= 5
    assert wrong(steps) == {}


@pytest.mark.covers("exp:R13")
def test_every_example_of_every_help_parses() -> None:
    lines = list(in_help())
    assert {name for name, _ in lines} >= {" ".join(path) for path, _ in commands() if path}
    assert wrong(lines) == {}


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: page.name)
def test_every_command_of_the_pages_parses(page: Path) -> None:
    assert wrong((page.name, line) for line in in_page(page.read_text())) == {}


def test_every_command_that_a_message_quotes_parses() -> None:
    files = [*(ROOT / "controller").rglob("*.py"), *(ROOT / "agent").rglob("*.py")]
    lines = [(file.name, line) for file in files for line in in_source(file)]
    assert len(lines) >= 5
    assert wrong(lines) == {}


@pytest.mark.covers("exp:R19")
def test_every_command_that_a_real_run_prints_parses(folder: Path) -> None:
    desk = agents.desk(folder)
    limits = "    fleetmedic_limits: {HOST-MEM: {crit_free_share: 1.1}}\n"
    with (
        agents.run(desk, "web01", port=free_port()) as first,
        agents.run(desk, "web02", port=free_port()) as second,
        agents.fleet(desk, [first, second], limits) as fleet,
    ):
        bad = fleet.check("--forks", "4", "--include", "HOST-MEM")
        assert bad.code == 2
        identity = re.search(r"run (\w+)$", bad.out, re.MULTILINE)
        assert identity
        shown = desk.run("runs", "show", identity[1])
        well = desk.check("--include", "HOST-MEM")
        store = ("--store", folder / "other.db")
        elsewhere = fleet.check("--include", "HOST-MEM", *store)
        details = re.search(r"details: fleetmedic (.*?)   exit", elsewhere.out)
        assert details
        assert desk.run(*shlex.split(details[1])).code == 0, "what is printed works"
        outputs = [bad.out, shown.out, well.out, desk.run("runs", "show", "ZZZZ").err, desk.run("check", "nobody").err]
    lines = [("run", line) for text in outputs for line in printed(text)]
    assert wrong(lines) == {}
    commands = [line for _, line in lines]
    again = f"fleetmedic check bad@{identity[1]} --inventory {fleet.inventory} --forks 4 --include HOST-MEM"
    assert again in commands
    assert f"fleetmedic runs show {identity[1]}" in commands
    assert "fleetmedic check --include HOST-MEM --show all" in commands


def test_every_command_is_known_to_the_listing() -> None:
    assert [path[0] for path, _ in commands() if len(path) == 1] == list(COMMANDS)
