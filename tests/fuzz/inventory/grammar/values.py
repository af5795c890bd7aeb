"""Values as each format writes them, and the names of variables."""

import json
from random import Random

NAMES = ("v1", "v2", "v3", "v4", "v5", "ansible_host", "ansible_user", "ansible_port", "fleetmedic_service_x")
ODD_NAMES = (
    "db_password",
    "api_token",
    "http-port",
    "größe",
    "ansible_group_priority",
    "Pass",
    "with.dot",
    "MixedCase",
)
RESERVED = ("inventory_hostname", "groups", "hostvars", "group_names")

# A word of a host line after the equals sign, before the shell's rules are applied to it.
INI_WORDS = (
    *(
        "5",
        "-5",
        "+5",
        "0",
        "00",
        "010",
        "007",
        "08",
        "1_000",
        "0x1f",
        "0o17",
        "0b11",
        "1e3",
        "1.50",
        ".5",
        "5.",
        "--5",
    ),
    *("1e400", "-0", "1+2j", "2j", "10-3", "1,2", "(1)", "(1,)", "...", "1_", "0x", "12345678901234567890123456789"),
    *("True", "False", "None", "true", "FALSE", "yes", "no", "null", "", "a=b=c", "text", "ü", "10.0.0.1", "1.2"),
    *("'a b'", '"a b"', "'a'\"b\"", "a\\b", "a\\\\b", "a\\ b", "p#w", "http://x/y?z=1#f", "'#no'", '"x#y"', "\\#"),
    *("'[1, 2]'", '"[1, (2, 3)]"', "'{\"a\": 1}'", "\"{'a': {'b': [1]}}\"", '"{1}"', "'(1, 2)'", "'set()'", "'{}'"),
    *('\'"a" "b"\'', "\"''\"", "\"'q'\"", "\"u'x'\"", "\"r'x\\n'\"", "\"b'x'\"", "\"f'x'\"", "' 5'", "'5 '", "'\t5'"),
    *("'1 # c'", "'\"w\" # c'", "'w # c'", "'{{ a }}.9'", "\"{'a': 1\"", "'{1: 2}'", "'{None: 1}'", "'{True: 1}'"),
    *("'a\"b'", '"a\\"b"', "'-'", "-", "~", "@x", "%d", "$HOME", "`id`", "[1,2]", "[a]", "{}", "2024-01-02", "1:30"),
    *(
        "'[1, 2'",
        "'1 2'",
        "'lambda: 0'",
        "__import__",
        "'\\x41'",
        "\"'\\\\x41'\"",
        "'[True, None, 1.0]'",
        "1__0",
        "1e-3",
    ),
)
# The rest of a line of a :vars section after the equals sign.
INI_REST = (
    *("5", " 5", "010", "1e3", "None", "True", "yes", "", "text", " spaced text ", "a=b", "1 # c", '"w" # c', "w # c"),
    *("'a' 'b'", "[1, 2]", "{'a': {'b': 1}}", "(1, 2)", "{3}", "'it''s'", "it's", '"unclosed', "a\\b", "#x", "; y"),
    *("http://x/#f", "{{ v1 }}", "0x1f", "1_000", "[1, 2", "b'x'", "1,2", "...", "'{{ x }}'", "x ; y", "[1, 2] # c"),
    *("True # c", "'#'", "'# c", '"""t"""', "'\\x41'", "1 if 1 else 2", "-5", "- 5", "+ 5", "not True", "'a' # 'b'"),
)
YAML_SCALARS = (
    *(
        "yes",
        "No",
        "on",
        "OFF",
        "true",
        "TRUE",
        "y",
        "n",
        "~",
        "null",
        "Null",
        "",
        "0644",
        "08",
        "0o17",
        "0b11",
        "0x1F",
    ),
    *("1_000", "1:30", "1:30.5", "190:20:30", "1e3", "1.0e+3", "-1.5e-3", ".5", "5.", ".inf", "-.INF", "1,000", "-0"),
    *("+5", "12345678901234567890123", "2024-01-02", "2024-01-02 03:04:05", "2024-01-02T03:04:05Z", "2024-1-2"),
    *("2024-01-02T03:04:05.5+02:00", "'2024-01-02'", '"yes"', "'it''s'", '"\\u00e9\\n"', "a b", "a#b", "a # c", "a:b"),
    *(
        "http://x/y",
        "'{{ v1 }}'",
        "!unsafe 'x {{ y }}'",
        "!!str 5",
        '!!int "7"',
        "!!float 3",
        "!!bool 'yes'",
    ),
    *("[a, 1, ~]", "{a: 1, b: [x, y]}", "[]", "{}", "[[1], {a: b}]", "{a: {b: {c: 1}}}", "ü", "'a: b'", "0x_f", "1__0"),
    *(
        "|\n  two\n  lines\n",
        ">-\n  folded\n  text\n",
        "- x\n- {a: 1}\n- [2]\n",
        "k: 1\nl:\n  m: yes\n",
        "{1: a, 1.5: b}",
    ),
    *("{true: a, ~: b}", "!!null ''", '"a\\\n  b"', "'multi\n  line'", "first\n  second", "'@x'", "-x", "?x"),
)
JSON_VALUES: tuple[object, ...] = (
    *(
        1,
        -2,
        0,
        1.5,
        1e21,
        True,
        False,
        None,
        "",
        "text",
        "yes",
        "010",
        "5",
        "2024-01-02",
        "a b",
        "ü",
        "\n",
        "{{ v1 }}",
    ),
    *(
        [],
        {},
        [1, "x", None],
        {"a": {"b": [1, 2]}},
        {"1": 2},
        [[True]],
        10**22,
        "#x",
        "a: b",
        "1:30",
        "=",
        "<<",
        "\U0001f600",
        "\t",
        "\\",
        "/",
        "\x7f",
    ),
)
TOML_VALUES = (
    *(
        "1",
        "-2",
        "1_000",
        "0x1f",
        "0o17",
        "0b11",
        "1.5",
        "1e3",
        "inf",
        "true",
        "false",
        '"text"',
        "'raw\\n'",
        '"\\u00e9"',
    ),
    *("1979-05-27", "1979-05-27T07:32:00", "1979-05-27T07:32:00Z", "1979-05-27T00:32:00.5-07:00", "07:32:00"),
    *("[1, 2]", '["a", ["b"]]', "{a = 1, b = {c = [true]}}", '""', '"""two\nlines"""', "[]", "{}", '"{{ v1 }}"'),
)


def name(rng: Random) -> str:
    """A variable's name: mostly plain, so that sources set the same ones."""
    kind = rng.random()
    if kind < 0.03:
        return rng.choice(RESERVED)
    return rng.choice(ODD_NAMES if kind < 0.18 else NAMES)


def priority(rng: Random) -> int:
    """A group's priority."""
    return rng.choice((-1, 0, 1, 2, 5, 10, 100))


def quoted(text: str) -> str:
    """The text as a key that YAML and TOML read as a text."""
    return json.dumps(text, ensure_ascii=False)
