"""From a pattern's text to its terms, those in the files that it names included."""

import re
from pathlib import Path

from controller.inventory.names import is_ipv6, shown
from controller.inventory.patterns.question import Question
from controller.inventory.sources import text

_TERM = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")
_BLANKS_AND_COLONS = re.compile(r"[\s:]*")
_HOST_AND_PORT = re.compile(r"[^\s:]+:[0-9]+")
_SHARE = re.compile(r"[&!]?[0-9]+%")


def terms_of(question: Question) -> list[str]:
    """The terms of a pattern: between commas if it has one, else between colons and blanks; at least one.

    For `@file` each line of the file is a term, unsplit. Raises InventoryError for what is none.
    """
    terms = []
    for term in _split(question):
        if term[0] == "@":
            terms += _lines(question, term[1:])
        else:
            _check(question, term)
            terms.append(term)
    return terms


def _split(question: Question) -> list[str]:
    pattern = question.pattern
    if "," in pattern:
        terms = [term.strip() for term in pattern.split(",")]
    elif is_ipv6(pattern.strip()):
        terms = [pattern.strip()]
    elif _HOST_AND_PORT.fullmatch(pattern.strip()):
        raise question.wrong("host:port is not a pattern", "leave the port out")
    else:
        terms = _TERM.findall(pattern)
        if not _BLANKS_AND_COLONS.fullmatch(_TERM.sub("", pattern)):
            raise question.wrong("a bracket without its other half", "close it; ':' and ',' split patterns")
    terms = [term for term in terms if term]
    if not terms:
        raise question.wrong(f"an empty {question.kind}", "write all for every host")
    return terms


def _lines(question: Question, name: str) -> list[str]:
    """The terms in a file of hosts, one a line; blank lines are none."""
    if not name:
        raise question.wrong("'@' without a file", "write @FILE")
    lines = [line.strip() for line in text.read(Path(name)).splitlines()]
    terms = [line for line in lines if line]
    if not terms:
        raise question.wrong(f"the file {shown(name)} names no host", "write a host or group a line")
    for term in terms:
        if term[0] == "@":
            raise question.wrong(f"the file {shown(name)} names another file, {shown(term)}", "write its hosts instead")
        _check(question, term)
    return terms


def _check(question: Question, term: str) -> None:
    bare = term[1:] if term[0] in "&!" else term
    if not bare or bare[0] in "&!":
        raise question.wrong(f"{shown(term)} names nothing", "put a host or group after it")
    if bare == "~":
        raise question.wrong("an empty regular expression matches everything", "write all for every host")
    if bare[0] == "@":
        raise question.wrong(
            f"'{term[0]}@file' is not supported", "a file of hosts stands alone: leave others out with !host or !group"
        )
    if _SHARE.fullmatch(term):
        raise question.wrong(f"the share {shown(term)} is only a part of it", "give it alone, as --limit 10%")
