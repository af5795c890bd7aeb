"""Takes secrets out of text before it leaves the job that read it: SQL literals, DSNs, tokens, keys.

Structured first (sql, url), then patterns over free text, then the values this agent itself holds. Every pattern runs
in linear time and lines are capped.
"""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit, urlunsplit

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fleetmedic.v1.snapshot_pb2 import Target

MASK = "***"
LONGEST_LINE = 64 * 1024
SHORTEST_SECRET = 4

_SQL = re.compile(
    r"""
    (?P<line>--[^\n]*)
  | (?P<block>/\*)
  | (?P<escape>\b[eE]'(?:[^'\\]|\\.|''|'[ \t\r\f]*\n\s*'|\\\Z)*(?:'|\Z))
  | (?P<string>(?:\b(?:[bBxXnN]|[uU]&))?'(?:[^']|'')*(?:'|\Z))
  | (?P<dollar>(?<![\w$])\$(?:[A-Za-z_\x80-\uffff][\w]*)?\$)
  | (?P<name>"(?:[^"]|"")*")
  | (?P<unclosed>"(?:[^"]|"")*\Z)
  | (?P<parameter>\$\d+)
  | (?P<word>[A-Za-z_\x80-\uffff][\w$]*)
  | (?P<number>(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
_KEPT = {"name", "parameter", "word"}


def sql(text: str) -> str:
    """A statement with every literal replaced by ?, comments gone, white space folded; a truncated one too."""
    out: list[str] = []
    at = 0
    while found := _SQL.search(text, at):
        out.append(text[at : found.start()])
        kind = found.lastgroup
        at = found.end()
        if kind in _KEPT:
            out.append(found[0])
        elif kind == "block":
            at = _block_end(text, at)
        elif kind == "dollar":
            end = text.find(found[0], at)
            at = len(text) if end < 0 else end + len(found[0])
            out.append("?")
        elif kind != "line":
            out.append("?")
    out.append(text[at:])
    return " ".join("".join(out).split())


def _block_end(text: str, at: int) -> int:
    """Where a comment ends; PostgreSQL's nest."""
    depth = 1
    for found in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)


def url(text: str) -> str:
    """A URL without password, query and fragment; user, host, port and path stay."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return MASK
    host = parts.netloc.rpartition("@")[2]
    user = parts.username
    return urlunsplit((parts.scheme, f"{user}:{MASK}@{host}" if user else host, parts.path, "", ""))


# Found anywhere in a name (DB_PASSWORD, x-api-key); bounded, so that a long word costs no more than a short one.
_SURE = r"pass(?:wd|word|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential"
_WORD = rf"(?:{_SURE}|auth|cookie|session)[\w.-]{{0,64}}"
# A program's own words for it: redis-cli -a PASSWORD, curl -u USER:PASSWORD, --password PASSWORD.
_OPTION = rf"(?:(?:--[\w-]{{0,64}}|-)(?:{_SURE}|(?<=-)key|(?<=-)pass)[\w-]{{0,64}}|--?(?:requirepass|api-key|auth))"
_NAMED_SECRET = re.compile(rf"(?is)({_OPTION})(=.*)?")
_VALUE = r"(?:\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|[^\s,;&)}\]]+)"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL), MASK),
    # A DSN: any characters up to the last @ of the word, so a password with / or : in it goes too.
    (re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{1,30}://)([^\s:/@'\"]{0,128}):(?:[^\s'\"]{0,512})@"), rf"\1\2:{MASK}@"),
    (re.compile(r"(?i)\b(bearer|basic|negotiate)\s+[A-Za-z0-9+/=._~-]{6,}"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]{4,1024}\.[\w-]{4,}(?:\.[\w-]*)?"), MASK),
    (re.compile(r"\b(?:ghp_|gho_|github_pat_|xox[abprs]-|AKIA|ASIA|sk-|sk_live_|glpat-)[\w-]{8,}"), MASK),
    (re.compile(r"(?i)\b((?:set-)?cookie|authorization|proxy-authorization)(\s*:\s*)[^\r\n]+"), rf"\1\2{MASK}"),
    (
        re.compile(
            rf"(?is)({_WORD})([\"'])(\s{{0,8}}:\s{{0,8}})"
            r"(?:\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)|'(?:[^'\\]|\\.)*(?:'|\\?\Z)|\[[^\]]*(?:\]|\Z)|\{[^}]*(?:\}|\Z)"
            r"|[^\s,;}\]\"']+)"
        ),
        rf"\1\2\3\2{MASK}\2",
    ),
    # The same within a JSON string: \"password\":\"x\".
    (re.compile(rf"(?i)({_WORD}\\+[\"']\s{{0,8}}:\s{{0,8}}\\+[\"'])[^\\\"']*"), rf"\1{MASK}"),
    (re.compile(rf"(?i)(?<![\w-])({_OPTION})(\s+)(?![\s-]){_VALUE}"), rf"\1\2{MASK}"),
    (re.compile(r"\b((?:redis|valkey)-cli\b[^\n|;&]{0,200}?\s-a\s+)\S+"), rf"\1{MASK}"),
    (
        re.compile(r"\b((?:sshpass|ldap\w{2,10}|docker\s+login|podman\s+login)\b[^\n|;&]{0,200}?\s-[pw]\s*)\S+"),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b((?:add_user|change_password)\s+\S+\s+)\S+"), rf"\1{MASK}"),
    (re.compile(r"(?i)([?&]sig(?:nature)?=)[^&\s\"']+"), rf"\1{MASK}"),
    (re.compile(r"(\s(?:-u|-U|--user|--proxy-user)[ =]?[^\s:]{1,128}:)\S+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(https?://)[^\s/@'\":]{1,512}@"), rf"\1{MASK}@"),
    (re.compile(rf"(?i)({_WORD})(\s{{0,8}}=>?\s{{0,8}}){_VALUE}"), rf"\1\2{MASK}"),
    # With a colon only words that are sure: libpq says "fe_sendauth: no password supplied".
    (re.compile(rf"(?i)((?:{_SURE})[\w.-]{{0,64}})(\s{{0,8}}:\s{{0,8}}){_VALUE}"), rf"\1\2{MASK}"),
    (re.compile(r"(?i)\b(requirepass|masterauth|primaryauth)(\s+)\S+"), rf"\1\2{MASK}"),
    (re.compile(r"\b(AUTH)(\s+)\S+(?:[^\S\n]+\S+)?"), rf"\1\2{MASK}"),
    (re.compile(r"(?i)\b(password|identified by)(\s+)(?:'[^']*'?|\"[^\"]*\"?)"), rf"\1\2{MASK}"),
    (re.compile(r"(?<![\w-])(-p)(?=[^\s-]*[^\s\w-]|[^\s-]*[A-Z0-9])[^\s]{6,}"), rf"\1{MASK}"),
)


def arguments(words: Iterable[str]) -> str:
    """A command line in one line: what follows an option for a secret is masked whole, blanks in it too."""
    made: list[str] = []
    hide = False
    for word in words:
        option = _NAMED_SECRET.fullmatch(word)
        if hide and not word.startswith("-"):
            made.append(MASK)
            hide = False
        elif option:
            made.append(f"{option[1]}={MASK}" if option[2] else word)
            hide = not option[2]
        else:
            made.append(word)
            hide = False
    return text(" ".join(made))


def text(value: str, secrets: Iterable[str] = ()) -> str:
    """Free text (an error, a health check's output) without what looks like a secret, and without `secrets`."""
    for secret in secrets:
        for shape in _shapes(secret):
            value = value.replace(shape, MASK)
    value = "\n".join(line[:LONGEST_LINE] for line in value.split("\n"))
    for pattern, mask in _PATTERNS:
        value = pattern.sub(mask, value)
    return value


def _shapes(secret: str) -> tuple[str, ...]:
    """A held value as it is, as a URL has it and as base64 has it."""
    if len(secret) < SHORTEST_SECRET:
        return ()
    return tuple(dict.fromkeys((secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode())))


def target(known: Target) -> Target:
    """A target as it may leave the host: its URL without password and query."""
    made = Target()
    made.CopyFrom(known)
    made.url = url(known.url)
    return made


def message(made: Message, secrets: Iterable[str] = ()) -> None:
    """Passes every string of a message through `text`, in place: the last net before it leaves the job."""
    held = tuple(secrets)
    for field, value in made.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _map(field, value, held)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in value if field.is_repeated else (value,):
                message(item, held)
        elif field.type == FieldDescriptor.TYPE_STRING:
            if field.is_repeated:
                value[:] = [text(item, held) for item in value]
            else:
                setattr(made, field.name, text(value, held))


def _map(field: FieldDescriptor, value: dict[str, str], held: tuple[str, ...]) -> None:
    entry = field.message_type
    if entry is not None and entry.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
        for key, said in list(value.items()):
            del value[key]
            value[text(key, held)] = text(said, held)
