"""Sources with one fault each, by kind; every one of them must be refused, whatever Ansible makes of it."""

from collections.abc import Mapping
from types import MappingProxyType

from tests.fuzz.inventory.drawn import File

_UNSAFE = ("-h", "!h", "&h", "~h", "@h", "a*b", "a/b", "a%b", "a$b", "a(b", "a|b", "a>b", "a`b", "a\u202eb", "a\u00a0b")
_INI: Mapping[str, str] = {
    "word that is no pair": "h ; text\n",
    "pair without a name": "h =x\n",
    "undeclared child": "[p:children]\nnever_declared\n",
    "variables of an undeclared group": "[never_declared:vars]\nx=1\n",
    "group in itself": "[p:children]\np\n",
    "circle": "[p:children]\nq\n[q:children]\nr\n[r:children]\np\n",
    "unknown kind of section": "[p:host]\nh\n",
    "blank in a section": "[p q]\nh\n",
    "text after a section": "[p] x\nh\n",
    "empty section": "[]\nh\n",
    "open section": "[p\nh\n",
    "range of different widths": "h[01:100]\n",
    "range without an end": "h[1:]\n",
    "range with a dash": "h[1-3]\n",
    "range backwards": "h[5:3]\n",
    "letters backwards": "h[c:a]\n",
    "range of both": "h[a:3]\n",
    "step zero": "h[1:3:0]\n",
    "range that is endless": "h[0:999999999]\n",
    "trailing colon": "h:\n",
    "no port": "h:ssh\n",
    "bracket without its other half": "h[1:3\n",
    "open quote": "h x='a\n",
    "variable without an equals sign": "[p]\n[p:vars]\nx\n",
    "child with variables": "[p:children]\nq x=1\n[q]\n",
    "NUL": "h\0i\n",
    "priority that is no number": "[p]\nh\n[p:vars]\nansible_group_priority=high\n",
}
_YAML: Mapping[str, str] = {
    "list of hosts": "g: {hosts: [h]}\n",
    "list of children": "g: {children: [h]}\n",
    "list of groups": "- g\n",
    "syntax": "g: {hosts: {h: {x: [}}\n",
    "unknown key": "g: {host: {h: }}\n",
    "number as a host": "g: {hosts: {1: }}\n",
    "number as a group": "1: {hosts: {h: }}\n",
    "bool as a host": "g: {hosts: {yes: }}\n",
    "duplicate group": "g: {hosts: {h: }}\ng: {hosts: {i: }}\n",
    "duplicate variable": "g: {hosts: {h: {x: 1, x: 2}}}\n",
    "tab": "g:\n\thosts: {h: }\n",
    "second document": "g: {hosts: {h: }}\n---\ng: {hosts: {i: }}\n",
    "unknown tag": "g: {hosts: {h: {x: !nosuch 1}}}\n",
    "alias without an anchor": "g: {hosts: {h: *nosuch}}\n",
    "variables that are a text": "g: {hosts: {h: text}}\n",
    "group that is a text": "g: text\n",
    "shape of a script": "g: {hosts: [h]}\n_meta: {hostvars: {}}\n",
    "plugin that is unknown": "plugin: nosuch.nosuch.nosuch\n",
    "circle": "p: {children: {q: }}\nq: {children: {p: }}\n",
    "reversed range": "g: {hosts: {'h[3:1]': }}\n",
}
_JSON: Mapping[str, str] = {
    "duplicate key": '{"g": {"hosts": {"h": null}}, "g": {"hosts": {"i": null}}}',
    "shape of a script": '{"g": ["h"], "_meta": {"hostvars": {}}}',
    "text alone": '"g"',
    "cut": '{"g": {"hosts": {"h": ',
}
_TOML: Mapping[str, str] = {
    "syntax": "[g\n",
    "hosts that are a list": "[g]\nhosts = ['h']\n",
    "duplicate table": "[g.hosts]\nh = {}\n[g.hosts]\ni = {}\n",
    "unknown key": "[g]\nhost = {}\n",
    "value alone": "g = 1\n",
}
_SCRIPTS: Mapping[str, str] = {
    "exit code": "echo '{}'; exit 3",
    "no JSON": "echo nonsense",
    "list": "echo '[]'",
    "empty answer": ":",
    "hosts that are a mapping": """echo '{"g": {"hosts": {"h": {}}}}'""",
    "bad host answer": """if [ "$1" = --list ]; then echo '{"g": {"hosts": ["h"]}}'; else echo nonsense; fi""",
}
_VARS: Mapping[str, str] = {
    "list": "- a\n",
    "text": "just a text\n",
    "syntax": "a: [}\n",
    "duplicate key": "a: 1\na: 2\n",
    "second document": "a: 1\n---\nb: 1\n",
    "vaulted file without a password": "$ANSIBLE_VAULT;1.1;AES256\n3130\n",
}


def _all() -> dict[str, tuple[File, ...]]:
    made: dict[str, tuple[File, ...]] = {}
    for suffix, kinds in ((".ini", _INI), (".yml", _YAML), (".json", _JSON), (".toml", _TOML)):
        for kind, text in kinds.items():
            made[f"{suffix[1:]}: {kind}"] = (File(f"broken/source{suffix}", text.encode()),)
    for name in _UNSAFE:
        made[f"ini: unsafe name {name!a}"] = (File("broken/source.ini", f"'{name}'\n".encode()),)
    made["ini: not UTF-8"] = (File("broken/source.ini", b"h x=\xff\n"),)
    for kind, body in _SCRIPTS.items():
        made[f"script: {kind}"] = (File("broken/source", f"#!/bin/sh\n{body}\n".encode(), is_executable=True),)
    for kind, text in _VARS.items():
        for place in ("group_vars/g.yml", "group_vars/all", "group_vars/g/one.yaml", "host_vars/h"):
            files = (File("broken/source.ini", b"[g]\nh\n"), File(f"broken/{place}", text.encode()))
            made[f"{place.partition('/')[0]}: {kind}"] = files
    made["missing file"] = ()
    return made


KINDS: Mapping[str, tuple[File, ...]] = MappingProxyType(_all())
"""The files of each kind; the first is the source. The missing one has none."""
