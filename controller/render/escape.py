"""Makes text from hosts harmless, by a function for each kind of place it is shown in.

    terminal, plain files    line, block
    Markdown                 markdown for prose; code spans and blocks are in controller/render/markdown.py
    HTML                     html, for text and quoted attributes
    CSV                      csv_cell
    JSON                     json.dumps with ensure_ascii, which needs no more

JUnit's XML, a Nagios plugin's line and a channel's paste have one each, in controller/render/check_junit.py,
check_nagios.py and check_paste.py. All begin with `line`.
"""

import re
from html import escape

# C0, DEL and C1 controls, line and paragraph separators, what reorders or hides text, and halves of characters.
HOSTILE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# Of one text of a host: an agent of ours writes a few hundred characters.
LONGEST = 2000
# Signs that begin markup anywhere; those that HTML or a table knows become entities, which every reader understands.
SIGNS = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", **{sign: f"\\{sign}" for sign in "\\`*[]#~$"}}
# An underscore within a word is none; a URL and a bare www. become links by themselves.
ACTIVE = re.compile(r"[\\`*\[\]#~$&<>|]|(?<![^\W_])_|_(?![^\W_])|(?<=\w):(?=//)|(?<=www)\.", re.IGNORECASE)
# At the beginning of a line these make a list or a rule.
OPENING = re.compile(r"(\d*)([-+=.)])(?=[-+=\s]|$)")
# At the beginning of a cell these make a formula, in their wide forms too.
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")


def line(text: str) -> str:
    """One line: nothing in it moves the cursor, changes colours or ends the line."""
    return HOSTILE.sub(lambda found: " " if found[0] in "\n\t" else f"\\x{ord(found[0]):02x}", text)


def block(text: str) -> list[str]:
    return [line(part) for part in text.splitlines()]


def markdown(text: str) -> str:
    """One line of prose, for a paragraph, a list item, a heading or a cell of a table."""
    made = ACTIVE.sub(lambda found: SIGNS.get(found[0], f"\\{found[0]}"), line(text).strip())
    return f"{found[1]}\\{made[found.end(1) :]}" if (found := OPENING.match(made)) else made


def html(text: str) -> str:
    """One line for an element's text or an attribute in quotes; never for a script, a style or an address."""
    return escape(line(text), quote=True)


def csv_cell(text: str) -> str:
    """One cell, with its quotes: no formula for a spreadsheet, and no end of the cell or the row."""
    made = line(text)
    # A text that begins with a tab or a return is one too, which `line` has made a blank or visible.
    formula = "'" if FORMULA.match(made) or text[:1] in ("\t", "\r") else ""
    return '"' + formula + made.replace('"', '""') + '"'
