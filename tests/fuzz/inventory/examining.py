"""Asks both sides everything about one draw, and says of every difference whether it is a deliberate one."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fuzz.inventory import comparing, deliberate, model, oracle, ours
from tests.fuzz.inventory.comparing import Difference
from tests.fuzz.inventory.drawn import Draw, Question, placed
from tests.fuzz.inventory.oracle import Oracle

OTHER_SEEDS = range(2, 7)


@dataclass(frozen=True)
class Told:
    """What the oracle says of one draw."""

    listing: oracle.Answer
    export: oracle.Answer | None
    hosts: tuple[oracle.Answer, ...]


@dataclass(frozen=True)
class Place:
    """Where a draw is written: once for us and once for the oracle."""

    folder: Path

    @property
    def ours(self) -> Path:
        return self.folder / "ours"

    @property
    def theirs(self) -> Path:
        return self.folder / "theirs"

    def write(self, draw: Draw) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        draw.write(self.ours)
        draw.write(self.theirs, for_oracle=True)


def ask(draw: Draw, place: Place, asked: Oracle, *, with_export: bool = True) -> Told:
    """Write the draw and ask the oracle; of what must be refused anyway it is asked nothing."""
    place.write(draw)
    sources = [placed(source, place.theirs) for source in draw.sources]
    if draw.broken is not None:
        return Told(oracle.Answer(0, ""), None, ())
    return Told(
        asked.listing(sources),
        asked.listing(sources, export=True) if with_export else None,
        tuple(asked.hosts(sources, _placed(question, place.theirs)) for question in draw.questions),
    )


def examine(draw: Draw, told: Told, place: Place, asked: Oracle) -> list[Difference]:
    """Every difference, the deliberate ones with their names. Our side is asked here, the oracle only for its order."""
    sources = [placed(source, place.ours) for source in draw.sources]
    listing = ours.listing(sources)
    if draw.broken is not None:
        return [_broken(draw, listing), *_broken_questions(draw, sources, place)]
    found = list(_listed("list", told.listing, listing))
    if told.export is not None:
        found += _listed("export", told.export, ours.listing(sources, export=True))
    if told.listing.listing is not None and listing.listing is not None:
        for question, answer in zip(draw.questions, told.hosts, strict=True):
            mine = ours.hosts(sources, _placed(question, place.ours))
            found += _chosen(draw, question, told.listing.listing, answer, mine, place, asked)
    return [
        replace(
            each,
            name=each.name
            or deliberate.value(each, reads_toml=any(file.path.endswith(".toml") for file in draw.files)),
        )
        for each in found
    ]


def _placed(question: Question, folder: Path) -> Question:
    limit = None if question.limit is None else placed(question.limit, folder)
    return Question(question.pattern, limit)


def _broken(draw: Draw, listing: ours.Answer) -> Difference:
    name = f"refused: {draw.broken}" if listing.is_refused else None
    return Difference("broken", (str(draw.broken),), "(anything)", listing.message or "answered", name)


def _broken_questions(draw: Draw, sources: list[str], place: Place) -> Iterator[Difference]:
    if str(draw.broken).startswith(("group_vars", "host_vars")):
        # Neither of us reads variables to name hosts.
        return
    for question in draw.questions:
        mine = ours.hosts(sources, _placed(question, place.ours))
        if not mine.is_refused:
            yield Difference("broken", (question.pattern,), "(anything)", mine)


def _listed(operation: str, theirs: oracle.Answer, mine: ours.Answer) -> Iterator[Difference]:
    if theirs.listing is None:
        yield Difference("oracle", (operation,), theirs.errors[-500:], mine.message or "answered")
    elif mine.listing is None:
        yield Difference("refused", (operation, _without_places(mine.message)), theirs.errors[-500:], mine.message)
    else:
        yield from comparing.listings(theirs.listing, mine.listing)


def _without_places(message: str) -> str:
    """What is wrong, without the place and the words of the source: it tells one refusal from another."""
    message = re.sub(r"^fleetmedic: \S+: ", "", message).partition(";")[0]
    return re.sub(r"'[^']*'", "'...'", message)


def _chosen(
    draw: Draw,
    question: Question,
    listing: model.Listing,
    theirs: oracle.Answer,
    mine: ours.Answer,
    place: Place,
    asked: Oracle,
) -> Iterator[Difference]:
    terms = tuple(deliberate.terms(draw, question))
    about = deliberate.Asked(question, terms, listing, theirs.hosts, theirs.unmatched)
    where = (question.pattern, question.limit or "")
    reasons = deliberate.refusals(about)
    if reasons or mine.exit_code:
        met = [reason.name for reason in reasons if mine.is_refused and reason.message.search(mine.message)]
        yield Difference("pattern", where, theirs.hosts, mine.message or mine.hosts, met[0] if met else None)
    elif mine.hosts != theirs.hosts:
        is_order = _may_be_ours(about, mine.hosts) and (
            model.has_open_order(listing) or _is_undefined(question, place, asked, draw, theirs)
        )
        yield Difference("pattern", where, theirs.hosts, mine.hosts, "order of descendants" if is_order else None)


def _is_undefined(question: Question, place: Place, asked: Oracle, draw: Draw, theirs: oracle.Answer) -> bool:
    """Whether the oracle itself answers otherwise with other hashes (S24)."""
    sources = [placed(source, place.theirs) for source in draw.sources]
    there = _placed(question, place.theirs)
    return any(asked.hosts(sources, there, seed=seed).hosts != theirs.hosts for seed in OTHER_SEEDS)


def _may_be_ours(about: deliberate.Asked, mine: tuple[str, ...]) -> bool:
    """Where the order is undefined: one group alone must be level by level, a subscript take of that order.

    All else holds the same hosts, but for subscripts among other terms: which hosts those take depends on the order.
    """
    if len(about.terms) == 1 and about.question.limit is None:
        term, listing = about.terms[0], about.listing
        if term in model.groups(listing):
            return mine == model.members(listing, term)
        if (taken := model.taken(listing, term)) is not None:
            return mine == taken
    if any(term.endswith("]") for term in about.terms):
        return set(mine) <= model.hosts(about.listing)
    return set(mine) == set(about.hosts)
