"""Foreign text in Markdown stays text: read by a real parser, nothing of it is markup, and all of it is there."""

import html
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from controller.render import escape, markdown

# Raw HTML allowed: nothing may depend on the reader's refusing it.
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = [
    "`rm -rf` and ``more``",
    "a | b || c \\| d \\",
    "<script>alert(1)</script><img src=x onerror=y>",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
    "](javascript:alert(1))",
    "<javascript:alert(1)> &lt;b&gt; &amp; &#60;",
    "**bold** __bold__ *it* _it_ ~~gone~~ $x$",
    "# heading\n## more\n\n- item\n\n---\n",
    "1. one", "- one", "+ one", "> quote", "=====", "-----", "1) one",
    "```\nfence\n```\n~~~",
    "[ref]: http://evil.example",
    "[^1] [x][ref] [ ] task",
    "a\u202egnp.exe \u2066x\u2069 \x1b[31m\x9b \u200b",
    "    indented", "\tindented", "a  \nb", "\\", "\\\\`", "idle_in_transaction _x y_",
    "http://evil.example www.evil.example https://x",
]  # fmt: skip
FOREIGN = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.sampled_from("`|<>[]()*_#~\\!&-+=.:/ \n1ax$"), max_size=30),
    st.text(st.characters(), max_size=40),
)


def tokens(parsed: list[Token]) -> Iterator[Token]:
    for token in parsed:
        yield token
        yield from tokens(token.children or [])


def kinds(source: str) -> list[str]:
    """What the parser makes of it, without the text itself."""
    return [token.type for token in tokens(PARSER.parse(source)) if token.type not in ("text", "text_special")]


def shown(source: str) -> str:
    return "".join(
        token.content for token in tokens(PARSER.parse(source)) if token.type in ("text", "text_special", "code_inline")
    )


def plain(foreign: str) -> str:
    return escape.line(foreign).strip()


@pytest.mark.covers("sec:B5")
@given(FOREIGN)
def test_in_a_paragraph_an_item_or_a_heading_it_is_text_and_whole(foreign: str) -> None:
    made = markdown.text(foreign)
    for frame in ("{}", "- {}", "# {}", "1. **x**: {} end"):
        source = frame.format(made)
        assert kinds(source) == kinds(frame.format("x" if plain(foreign) else "")), source
    assert shown(made) == plain(foreign)


@pytest.mark.covers("sec:B5")
@given(FOREIGN)
def test_in_a_table_it_stays_in_its_cell(foreign: str) -> None:
    source = f"| a | b |\n|---|---|\n| {markdown.text(foreign)} | last |\n"
    assert [kind for kind in kinds(source) if kind == "td_open"] == ["td_open"] * 2
    assert kinds(source) == kinds("| a | b |\n|---|---|\n| x | last |\n")
    assert shown(source) == "ab" + plain(foreign) + "last"


@pytest.mark.covers("sec:B5")
@given(FOREIGN)
def test_a_code_span_is_one_and_whole(foreign: str) -> None:
    source = f"x {markdown.code(foreign)} y"
    assert kinds(source) == ["paragraph_open", "inline", "code_inline", "paragraph_close"]
    inside = next(token.content for token in tokens(PARSER.parse(source)) if token.type == "code_inline")
    assert inside.strip() == plain(foreign)


@pytest.mark.covers("sec:B5")
@given(FOREIGN)
def test_a_code_block_cannot_be_closed_from_within(foreign: str) -> None:
    source = "\n".join(["before", "", *markdown.fence(foreign), "", "after"])
    parsed = PARSER.parse(source)
    assert [token.type for token in parsed] == [
        "paragraph_open", "inline", "paragraph_close", "fence", "paragraph_open", "inline", "paragraph_close",
    ]  # fmt: skip
    (block,) = [token for token in parsed if token.type == "fence"]
    assert block.content.splitlines() == escape.block(foreign)


@pytest.mark.covers("sec:B5")
@given(FOREIGN)
def test_no_html_link_or_picture_comes_out_even_where_addresses_become_links(foreign: str) -> None:
    reader = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable("table")
    made = reader.render(markdown.text(foreign))
    assert not re.search(r"<(?!/?p>)", made), made
    assert html.unescape(re.sub(r"</?p>|\n$", "", made)).strip() == plain(foreign)


@pytest.mark.covers("sec:B5")
@pytest.mark.parametrize("foreign", ["http://evil.example/x", "see https://evil.example", "www.evil.example"])
def test_an_address_of_a_host_is_broken_so_that_no_reader_makes_a_link_of_it(foreign: str) -> None:
    assert not re.search(r"(?i)\w://|www\.", markdown.text(foreign))
    assert shown(markdown.text(foreign)) == foreign


@pytest.mark.parametrize(
    ("foreign", "made"),
    [
        ("idle_in_transaction for 2m04s (limit 5)", "idle_in_transaction for 2m04s (limit 5)"),
        ("SELECT * FROM orders", "SELECT \\* FROM orders"),
        ("orders@shop from local, pid 203: 98%", "orders@shop from local, pid 203: 98%"),
        ("1.5 of 3", "1.5 of 3"),
    ],
)
def test_ordinary_text_stays_readable_in_the_source(foreign: str, made: str) -> None:
    assert markdown.text(foreign) == made
