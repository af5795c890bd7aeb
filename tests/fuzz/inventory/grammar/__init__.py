"""Draws an inventory and questions about it from a seed; every part of Ansible's grammar has its turn."""

from random import Random

from tests.fuzz.inventory.drawn import ROOT, Draw, File
from tests.fuzz.inventory.grammar import documents, ini, patterns, yaml
from tests.fuzz.inventory.grammar.broken import KINDS
from tests.fuzz.inventory.grammar.names import Names, names

BROKEN = 0.15
QUESTIONS = 2
BOM = b"\xef\xbb\xbf"
_SOURCES = ("ini", "yaml", "json", "toml", "script", "list", "folder")
_WEIGHTS = (10, 7, 3, 3, 3, 2, 4)
# Of a directory nothing is read from these.
_IGNORED = (
    ".hidden",
    "notes.md",
    "old.bak",
    "old.ini~",
    "x.retry",
    "x.cfg",
    "x.orig",
    "x.swp",
    "x.rst",
    "x.txt",
    "x.pyc",
)


def draw(seed: int) -> Draw:
    """The draw of a seed, always the same one."""
    rng = Random(seed)
    common = names(rng)
    files: list[File] = []
    sources: list[str] = []
    folders: list[str] = []
    for number in range(rng.choices((1, 2, 3), (5, 3, 1))[0]):
        folder = folders[0] if folders and rng.random() < 0.2 else f"s{number}"
        sources.append(_source(rng, common, folder, number, files))
        if ROOT in sources[-1]:
            folders.append(folder)
    for folder in dict.fromkeys(folders):
        if rng.random() < 0.5:
            files += _variables(rng, common, folder)
    asked = []
    for number in range(QUESTIONS):
        question, more = patterns.question(rng, common, number)
        asked.append(question)
        files += more
    broken = None
    if rng.random() < BROKEN:
        broken = rng.choice(list(KINDS))
        files += KINDS[broken]
        path = KINDS[broken][0].path if KINDS[broken] else "broken/missing.ini"
        sources.insert(rng.randint(0, len(sources)), ROOT + path)
        del asked[1:]
    return Draw(seed, tuple({file.path: file for file in files}.values()), tuple(sources), tuple(asked), broken)


def _source(rng: Random, common: Names, folder: str, number: int, files: list[File]) -> str:
    """One more source: its files are added, what names it is answered."""
    kind = rng.choices(_SOURCES, _WEIGHTS)[0]
    if kind == "list":
        return _list(rng, common)
    if kind != "folder":
        file = _file(rng, common, kind, f"{folder}/{number}")
        files.append(file)
        return ROOT + file.path
    # A folder of its own: what else is below it would be read as well.
    folder = f"d{number}"
    for place in range(rng.randint(1, 3)):
        below = f"{folder}/{'sub/' if rng.random() < 0.15 else ''}{place}{rng.choice(('', 'b', '_x'))}"
        files.append(_file(rng, common, rng.choice(_SOURCES[:5]), below))
    for name in rng.sample(_IGNORED, rng.choice((0, 0, 2))):
        files.append(File(f"{folder}/{name}", b"[this is no inventory\n"))
    if rng.random() < 0.6:
        files += _variables(rng, common, folder)
    return f"{ROOT}{folder}{rng.choice(('', '/'))}"


def _file(rng: Random, common: Names, kind: str, stem: str) -> File:
    if kind == "ini":
        text = ini.source(rng, common).encode()
        path = stem + rng.choice((".ini", "", ".hosts", ".inv"))
        is_marked = rng.random() < 0.04
        return File(path, BOM + text, for_oracle=text) if is_marked else File(path, text)
    if kind == "yaml":
        return File(stem + rng.choice((".yml", ".yaml", ".yml", "")), yaml.source(rng, common).encode())
    if kind == "json":
        return File(f"{stem}.json", documents.json_source(rng, common).encode())
    if kind == "toml":
        return File(f"{stem}.toml", documents.toml_source(rng, common).encode())
    return File(stem + rng.choice(("", ".sh", ".py")), documents.script(rng, common).encode(), is_executable=True)


def _list(rng: Random, common: Names) -> str:
    entries = []
    for entry in rng.sample(common.entries, rng.randint(1, min(4, len(common.entries)))):
        name = rng.choice(entry.names)
        is_ipv6 = entry.is_ipv6
        port = rng.randint(1, 65535)
        entries.append(name if rng.random() < 0.8 else f"[{name}]:{port}" if is_ipv6 else f"{name}:{port}")
    joint = rng.choice((",", ", ", " ,"))
    text = joint.join(entries)
    return text + "," if len(entries) == 1 or rng.random() < 0.3 else text


def _variables(rng: Random, common: Names, folder: str) -> list[File]:
    """Files and folders of group_vars and host_vars beside a source."""
    made: list[File] = []
    groups = ("all", "ungrouped", *common.groups)
    for kind, pool in (("group_vars", groups), ("host_vars", common.hosts)):
        for name in rng.sample(pool, rng.randint(0, min(3, len(pool)))):
            if "/" in name:
                continue
            for suffix in rng.choices((("",), (".yml",), (".yaml",), (".json",), (".yml", ".yaml")), (2, 5, 2, 2, 1))[
                0
            ]:
                made += _one(rng, f"{folder}/{kind}/{name}", suffix)
    return made


def _one(rng: Random, stem: str, suffix: str) -> list[File]:
    if suffix == "" and rng.random() < 0.6:
        inside = [f"{stem}/{place}{rng.choice(('', '.yml', '.yaml'))}" for place in rng.sample(("b", "a", "1"), 2)]
        if rng.random() < 0.3:
            inside.append(f"{stem}/deep/c.yml")
        ignored = [File(f"{stem}/{name}", b"- no mapping\n") for name in rng.sample((".x", "x~", "x.txt"), 1)]
        return [*(File(path, yaml.mapping(rng).encode()) for path in inside), *ignored]
    text = documents.json_mapping(rng) if suffix == ".json" else yaml.mapping(rng)
    return [File(f"{stem}{suffix}", text.encode())]
