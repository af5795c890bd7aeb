"""Variables as they are used: rendered from names alone, refused where they are encrypted or more than that."""

import pytest

from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.templates import used
from controller.inventory.variables import ENCRYPTED, Layer, Unsafe, Variable


def host(**values: object) -> Host:
    variables = {name: Variable(value, Origin("hosts.yml", n)) for n, (name, value) in enumerate(values.items(), 1)}
    return Host("web01", variables, ("web",))


def rendered(**values: object) -> object:
    """Give the first variable's value as it is used."""
    variable = used(host(**values), next(iter(values)))
    assert variable is not None
    return variable.value


def refusal(**values: object) -> str:
    with pytest.raises(InventoryError) as error:
        rendered(**values)
    return str(error.value)


@pytest.mark.covers("inv:I125", "inv:S23")
@pytest.mark.parametrize(
    ("values", "value"),
    [
        ({"a": "plain"}, "plain"),
        ({"a": 7}, 7),
        ({"a": "{{ b }}", "b": 7443}, 7443),
        ({"a": " {{b}} ", "b": [1, 2]}, [1, 2]),
        ({"a": "{{ net }}.{{ n }}", "net": "192.0.2", "n": 9}, "192.0.2.9"),
        ({"a": "{{ b }}", "b": "{{ c }}-x", "c": "{{ d }}", "d": "deep"}, "deep-x"),
        ({"a": "http://{{ inventory_hostname }}:{{ s.port }}/", "s": {"port": 80}}, "http://web01:80/"),
        ({"a": "{{ s.in.ner }}", "s": {"in": {"ner": True}}}, True),
        ({"a": {"orders": ["{{ b }}"], "n": 1}, "b": "x"}, {"orders": ["x"], "n": 1}),
        ({"a": "{{ b }}{{ b }}", "b": "x"}, "xx"),
        ({"a": Unsafe("{{ b }}")}, "{{ b }}"),
        ({"a": "<{{ b }}>", "b": Unsafe("{{ c }}")}, "<{{ c }}>"),
        ({"a": "{ not } a template %}"}, "{ not } a template %}"),
    ],
)
def test_a_name_is_rendered_wherever_it_stands(values: dict[str, object], value: object) -> None:
    assert rendered(**values) == value


@pytest.mark.covers("inv:I125", "inv:S23")
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"a": "{{ b | default('x') }}", "b": 1},
            "a: its template '{{ b | default('x') }}' is a filter; of Jinja only",
        ),
        ({"a": "{{ b }}", "b": "{{ c + 1 }}"}, "a: by way of b: its template '{{ c + 1 }}' is more than a name; "),
        ({"a": "{% if x %}y{% endif %}"}, "is more than a name; "),
        ({"a": "{{ groups['web'][0] }}"}, "is more than a name; "),
        ({"a": "{{ lookup('pipe', 'id') }}"}, "is more than a name; "),
        ({"a": "{# note #}x"}, "is more than a name; "),
        ({"a": "{{ b"}, "is more than a name; "),
        ({"a": "{{ a }}"}, "a: its template needs itself: a > a; break the ring"),
        ({"a": "{{ b }}", "b": "{{ c }}", "c": "{{ a }}"}, "a: its template needs itself: a > b > c > a; "),
        ({"a": "{{ nope }}"}, "a: 'nope' is not set for web01; set it"),
        ({"a": "{{ s.x }}", "s": {"y": 1}}, "a: 's.x': 'x' is not there; set it"),
        ({"a": "{{ s.x }}", "s": "text"}, "a: 's.x': 'x' is not there; set it"),
        ({"a": "x{{ b }}", "b": [1]}, "a: b is no text and no number, and stands within a text; "),
        ({"a": "x{{ b }}", "b": True}, "a: b is no text and no number, and stands within a text; "),
    ],
)
def test_what_is_more_than_names_is_refused_with_the_variable_and_the_mend(
    values: dict[str, object], said: str
) -> None:
    message = refusal(**values)
    assert message.startswith("hosts.yml:1: a: ")
    assert said in message


@pytest.mark.covers("inv:I124", "inv:S22")
@pytest.mark.parametrize(
    "values",
    [{"a": ENCRYPTED}, {"a": ["x", ENCRYPTED]}, {"a": {"k": ENCRYPTED}}, {"a": "{{ b }}", "b": ENCRYPTED}],
)
def test_an_encrypted_value_is_refused_where_it_is_used(values: dict[str, object]) -> None:
    assert "an encrypted value is needed here; write it plainly, or try --inventory-backend ansible" in refusal(
        **values
    )


@pytest.mark.covers("inv:I124")
def test_an_encrypted_value_beside_the_used_one_does_no_harm() -> None:
    assert rendered(a="{{ b }}", b="x", secret=ENCRYPTED) == "x"


@pytest.mark.covers("inv:I124")
def test_a_name_that_is_not_set_may_be_in_the_file_that_is_encrypted() -> None:
    variables = {"a": Variable("{{ vault_address }}", Origin("hosts.yml", 1))}
    sealed = Host("web01", variables, (), (Layer("group_vars/all", {}, ("group_vars/all/vault.yml",)),))
    with pytest.raises(InventoryError, match="it may be in group_vars/all/vault.yml, which is encrypted"):
        used(sealed, "a")


@pytest.mark.covers("inv:I125")
def test_templates_that_multiply_end_soon() -> None:
    empty = {f"v{n}": f"{{{{ v{n + 1} }}}}" * 200 for n in range(8)}
    assert "has more than 10,000 expressions" in refusal(**empty, v8="")
    long = {f"v{n}": f"{{{{ v{n + 1} }}}}" * 20 for n in range(6)}
    assert "is longer than 65,536 characters" in refusal(**long, v6="x" * 100)
    chain = {f"v{n}": f"{{{{ v{n + 1} }}}}" for n in range(20)}
    assert "goes through more than 10 variables" in refusal(**chain, v20="x")


def test_a_variable_that_is_not_set_is_none() -> None:
    assert used(host(a=1), "b") is None
