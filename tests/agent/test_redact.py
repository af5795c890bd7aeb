"""Nothing secret leaves: free text, SQL, URLs and whole messages (checks.md 10)."""

import base64
import re
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import redact
from fleetmedic.v1.snapshot_pb2 import HttpSnapshot, Snapshot

S = "hunter2Secret"
# Each holds S once; the right-hand text is what must stay readable.
SAMPLES = {
    "a DSN without a database": (f"redis://default:{S}@redis:6379", "redis://default:***@redis:6379"),
    "a DSN without a user": (f"redis://:{S}@h:6379/0", "redis://:***@h:6379/0"),
    "a DSN with a slash in its password": (f"postgres://app:a/{S}@db/shop", "@db/shop"),
    "a DSN with an at sign in its password": (f"postgres://app:x@{S}@db/shop", "@db/shop"),
    "a DSN with a colon in its password": (f"postgres://app:x:{S}@db/shop", "@db/shop"),
    "a percent-encoded DSN": (f"postgres://app:%40{S}@db:5432/shop", "@db:5432/shop"),
    "DATABASE_URL": (f"DATABASE_URL=postgres://app:{S}@db/shop", "DATABASE_URL=postgres://app:***@db/shop"),
    "a list of secrets": (f'{{"password": ["{S}", "b"], "next": 1}}', '"next": 1'),
    "JSON within JSON": (f'{{\\"user\\":\\"u\\",\\"password\\":\\"{S}\\"}}', "user"),
    "an option and its value": (f"app --password {S} --port 5", "--port 5"),
    "redis-cli's -a": (f"redis-cli -h cache -a {S} PING", "PING"),
    "curl's -u": (f"curl -u app:{S} http://api/health", "http://api/health"),
    "a token as a URL's user": (f"fetch https://{S}@git.lab/x failed", "@git.lab/x failed"),
    "libpq words": (f"host=db password={S} dbname=shop", "host=db password=*** dbname=shop"),
    "libpq words in quotes": (f"password='{S} x' dbname=shop", "dbname=shop"),
    "PGPASSWORD": (f"PGPASSWORD={S} psql", "PGPASSWORD=*** psql"),
    "SLACK_TOKEN": (f"SLACK_TOKEN={S}", "SLACK_TOKEN=***"),
    "AWS_SECRET_ACCESS_KEY": (f"AWS_SECRET_ACCESS_KEY={S}", "AWS_SECRET_ACCESS_KEY=***"),
    "a bearer": (f"Authorization: Bearer {S}", "Authorization: ***"),
    "a bearer without its header": (f"sent Bearer {S} to h", "sent Bearer *** to h"),
    "basic": (f"Authorization: Basic {base64.b64encode(S.encode()).decode()}", "Authorization: ***"),
    "a key on one line": (f"-----BEGIN PRIVATE KEY-----{S}-----END PRIVATE KEY----- after", "after"),
    "a key on many lines": (
        f"-----BEGIN RSA PRIVATE KEY-----\nMII\n{S}\n-----END RSA PRIVATE KEY-----\nafter",
        "after",
    ),
    "a key that is cut off": (f"before -----BEGIN EC PRIVATE KEY-----\n{S}", "before"),
    "a query's token": (f"GET /x?access_token={S}&page=2", "&page=2"),
    "Set-Cookie": (f"Set-Cookie: sid={S}; Path=/", "Set-Cookie: ***"),
    "Cookie": (f"Cookie: a=b; sid={S}\nHost: h", "Host: h"),
    "a role's password": (f"ALTER ROLE app PASSWORD '{S}'", "ALTER ROLE app PASSWORD"),
    "AUTH in a slow log": (f"AUTH app {S}", "AUTH ***"),
    "AUTH with the password alone": (f"AUTH {S}", "AUTH ***"),
    "requirepass": (f"requirepass {S}", "requirepass ***"),
    "masterauth": (f"masterauth {S}", "masterauth ***"),
    "primaryauth": (f"primaryauth {S}", "primaryauth ***"),
    "JSON": (f'{{"password":"{S}","user":"app"}}', '"user":"app"'),
    "JSON with blanks": (f'{{"db_password" : "x {S}"}}', "db_password"),
    "JSON with the other quote": (f'{{"password":"it\'s {S}","user":"app"}}', '"user":"app"'),
    "JSON with an escaped quote": (f'{{"password":"x\\"{S}","user":"app"}}', '"user":"app"'),
    "JSON that is cut off": (f'{{"password":"{S}', "password"),
    "JSON cut off in an escape": (f'{{"password":"{S}\\', "password"),
    "JSON with a number": (f'{{"api_key":{S},"user":"app"}}', '"user":"app"'),
    "a Python dict": (f"{{'api_key': '{S}', 'user': 'app'}}", "'user': 'app'"),
    "YAML": (f"db_password: {S}\nuser: app", "user: app"),
    "a command's -p": (f"mysql -u app -p{S} shop", "mysql -u app -p*** shop"),
    "ADO": (f"Server=db;Password={S};Database=shop", "Database=shop"),
    "a header of ours": (f"x-api-key: {S}", "x-api-key"),
    "a session": (f"session_id={S}", "session_id"),
    "a credential": (f"credential => {S}", "credential"),
    "a JWT": (f"got eyJhbGciOi.eyJ{S}.sig here", "got *** here"),
    "a GitHub token": (f"ghp_{S}", "***"),
    "an AWS key id": (f"AKIA{S} denied", "denied"),
    "a Slack token": (f"xoxb-{S}", "***"),
    "a payment key": (f"sk-{S}", "***"),
}


@pytest.mark.covers("chk:10.2")
@pytest.mark.parametrize("kind", SAMPLES)
def test_a_secret_in_free_text_is_masked_and_the_rest_stays(kind: str) -> None:
    given_text, stays = SAMPLES[kind]
    said = redact.text(given_text)
    assert S not in said
    assert base64.b64encode(S.encode()).decode() not in said
    assert stays in said


@pytest.mark.covers("chk:10.1")
@pytest.mark.parametrize(
    ("given_url", "said"),
    [
        (f"https://app:{S}@h:8443/health?token={S}#{S}", "https://app:***@h:8443/health"),
        (f"https://app@h/x?{S}", "https://app:***@h/x"),
        (f"http://:{S}@h/", "http://h/"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("http://auth.lab:8000/health", "http://auth.lab:8000/health"),
    ],
)
def test_a_url_keeps_user_host_port_and_path_alone(given_url: str, said: str) -> None:
    assert redact.url(given_url) == said


SQL = [
    ("SELECT * FROM t WHERE a = 'x' AND b = 42", "SELECT * FROM t WHERE a = ? AND b = ?"),
    ("SELECT 'it''s'", "SELECT ?"),
    ("SELECT 'a\\' , 'b'", "SELECT ? , ?"),
    (r"SELECT E'it\'s', e'a\\'", "SELECT ?, ?"),
    ("SELECT E'a'\n  'b\\'c' , 1", "SELECT ? , ?"),
    ("SELECT U&'d!0061' UESCAPE '!'", "SELECT ? UESCAPE ?"),
    ("SELECT B'01', x'ff', N'n'", "SELECT ?, ?, ?"),
    ("SELECT $$it's$$, $a$ $$ $b$ $a$", "SELECT ?, ?"),
    ("SELECT $1, $2", "SELECT $1, $2"),
    ("SELECT a$b$c FROM t", "SELECT a$b$c FROM t"),
    ('SELECT "it\'s", "a""b"', 'SELECT "it\'s", "a""b"'),
    ("SELECT 1 -- secret\n+ 2", "SELECT ? + ?"),
    ("SELECT /* a /* secret */ b */ 1", "SELECT ?"),
    ("SELECT '/*', 1 /* ' */", "SELECT ?, ?"),
    ("SELECT 1e10, .5, 1.5E-3, 1_000, 0xff, t1.c2", "SELECT ?, ?, ?, ?, ?, t1.c2"),
    ("SELECT\n\t a ,  b", "SELECT a , b"),
    ("", ""),
]


@pytest.mark.covers("chk:10.6")
@pytest.mark.parametrize(("statement", "said"), SQL)
def test_every_literal_of_a_statement_becomes_a_question_mark(statement: str, said: str) -> None:
    assert redact.sql(statement) == said


CUT = {
    "a string": f"SELECT '{S}",
    "a string after a doubled quote": f"SELECT 'a''{S}",
    "an escape string": f"SELECT E'{S}",
    "an escape": f"SELECT E'{S}\\",
    "a dollar quote": f"SELECT $$ {S}",
    "a tagged dollar quote": f"SELECT $tag$ {S} $ta",
    "a comment": f"SELECT 1 /* {S}",
    "an inner comment": f"SELECT 1 /* /* */ {S}",
    "a line comment": f"SELECT 1 -- {S}",
    "a Unicode string": f"SELECT U&'{S}",
    "a second segment": f"SELECT E'a'\n'\\'{S}",
}


@pytest.mark.covers("chk:10.6")
@pytest.mark.parametrize("state", CUT)
def test_a_statement_cut_off_anywhere_lets_nothing_out(state: str) -> None:
    assert S not in redact.sql(CUT[state])


literals = st.sampled_from(
    ["'{}'", "E'{}'", "$${}$$", "$t${}$t$", "U&'{}'", "'a'' {}'", "E'\\' {}'", "/* {} */", "-- {}\n"]
)
around = st.sampled_from(
    ["SELECT ", "a = ", "(", ")", ", ", '"col"', " t1.c ", "$1", " || ", "\n", "'x'", "E'\\\\'", "42 ", "/* c */"]
)


@pytest.mark.covers("chk:10.6")
@given(
    st.lists(around, max_size=8),
    st.lists(literals, min_size=1, max_size=4),
    st.lists(around, max_size=8),
    st.integers(0, 200),
)
def test_no_literal_survives_whatever_stands_around_it_and_wherever_it_is_cut(
    before: list[str], forms: list[str], after: list[str], cut: int
) -> None:
    whole = "".join([*before, *(f" {form.format(S)} " for form in forms), *after])
    for statement in (whole, whole[:cut]):
        assert S not in redact.sql(statement)


N = 100_000
HOSTILE = {
    "tokens that begin again and again": "-eyJaaaa" * (N // 8),
    "words of secrets": "pass" * (N // 4),
    "words with dots": "pass." * (N // 5),
    "DSNs that begin again and again": "aa://b:" * (N // 7),
    "JSON keys": 'pass":"' * (N // 7),
    "words and blanks": "pass        " * (N // 12),
    "-p": "-p" * (N // 2),
    "begins of keys": "-----BEGIN " * (N // 11),
    "ends of keys": "-----BEGIN A-----" + "-----END " * (N // 9),
    "quotes": "'" * N,
    "double quotes": '"' * N,
    "backslashes": "\\" * N,
    "escapes": "password=" + '"\\' * (N // 2),
    "cookies": "cookie:\n" * (N // 8),
    "blanks after a header": "authorization" + " " * N,
    "prefixes": "-ghp_" * (N // 5),
    "AUTH": "AUTH " * (N // 5),
    "escape strings": "E'" * (N // 2),
    "continued strings": "E'a'\n " * (N // 7),
    "quotes and blanks": "E'" + "'   " * (N // 4),
    "comments": "/*" * (N // 2),
    "dollars": "$a" * (N // 2),
    "tags": "".join(f"$a{n}$" for n in range(N // 7)),
    "numbers": "1." * (N // 2),
    "exponents": "1e" * (N // 2),
    "one word": "a" * N,
    "dots": "a." * (N // 2),
}


@pytest.mark.covers("chk:10.5")
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("clean", [redact.text, redact.sql], ids=["text", "sql"])
def test_hostile_text_of_100_kb_takes_less_than_half_a_second(kind: str, clean: object) -> None:
    began = time.process_time()
    assert callable(clean)
    clean(HOSTILE[kind])
    assert time.process_time() - began < 0.5


@pytest.mark.covers("chk:10.5")
def test_a_line_is_cut_at_64_kib() -> None:
    said = redact.text("x" * 70_000 + "\nshort")
    assert [len(line) for line in said.split("\n")] == [64 * 1024, 5]


@pytest.mark.covers("chk:10.3")
def test_a_value_the_agent_holds_goes_in_every_shape() -> None:
    held = "pl@in/Word"
    for shape in (held, quote(held, safe=""), base64.b64encode(held.encode()).decode()):
        assert redact.text(f"seen {shape} here", [held]) == "seen *** here"
    assert redact.text("abc abc", ["abc"]) == "abc abc", "shorter than four characters would mask everything"


def with_secret_everywhere() -> Snapshot:
    made = Snapshot()
    made.failure.detail = f"password={S}"
    made.docker.warnings.extend([f"token={S}", "fine"])
    made.docker.containers.add(error=f"postgres://a:{S}@h", compose_service="web")
    made.earlier.add().counters["restarts x"] = 1.0
    return made


@pytest.mark.covers("chk:10.1")
def test_every_text_of_a_message_is_passed_through_nested_repeated_and_in_maps() -> None:
    made = with_secret_everywhere()
    redact.message(made)
    assert S.encode() not in made.SerializeToString()
    assert list(made.docker.warnings) == ["token=***", "fine"]
    assert made.docker.containers[0].compose_service == "web"
    assert dict(made.earlier[0].counters) == {"restarts x": 1.0}


@pytest.mark.covers("chk:10.1", "chk:10.3")
def test_maps_are_cleaned_in_their_keys_and_values() -> None:
    made = Snapshot(http=HttpSnapshot(checks={"db": f"password={S}", f"token={S}": "down", "held": "x plainword y"}))
    redact.message(made, ["plainword"])
    assert dict(made.http.checks) == {"db": "password=***", "token=***": "down", "held": "x *** y"}


WITHOUT_SECRET = st.text(max_size=100).filter(lambda value: S not in value)
# An open quote or comment makes what follows a part of itself; so says SQL.
WITHOUT_QUOTES = WITHOUT_SECRET.map(lambda value: re.sub(r"[\"'$/*-]", "", value))


@given(WITHOUT_SECRET, WITHOUT_SECRET)
def test_a_password_is_taken_out_of_whatever_stands_around_it(before: str, after: str) -> None:
    assert S not in redact.text(f"{before} password={S} {after}")


@given(WITHOUT_QUOTES, WITHOUT_SECRET)
def test_a_literal_is_taken_out_of_whatever_statement_it_stands_in(before: str, after: str) -> None:
    assert S not in redact.sql(f"{before} '{S}' {after}")


@pytest.mark.parametrize("cut", [f'SELECT "note {S}', f'SELECT "a", "x = \'{S}\''])
def test_a_name_whose_end_is_missing_goes_too_for_it_may_be_anything(cut: str) -> None:
    assert S not in redact.sql(cut)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["app", "--db-password", "hunter2 x", "--secret-key", "hunter2", "-v"],
            "app --db-password *** --secret-key *** -v",
        ),
        (["app", "--password=hunter2 secret tail", "b"], "app --password=*** b"),
        (["curl", "--proxy-user", "a:hunter2"], "curl --proxy-user a:***"),
        (["sshpass", "-p", "hunter2", "ssh"], "sshpass -p *** ssh"),
        (["docker", "login", "-p", "hunter2"], "docker login -p ***"),
        (["sh", "-c", "app --smtp_password hunter2"], "sh -c app --smtp_password ***"),
        (["rabbitmqctl", "add_user", "bob", "hunter2"], "rabbitmqctl add_user bob ***"),
        (["get", "http://a/?sig=hunter2&b=1"], "get http://a/?sig=***&b=1"),
        (["app", "--private-key", "-f"], "app --private-key -f"),
        (["gunicorn", "-w", "4", "--author", "Bob"], "gunicorn -w 4 --author Bob"),
    ],
)
def test_a_command_line_loses_what_follows_an_option_for_a_secret(words: list[str], said: str) -> None:
    assert redact.arguments(words) == said
