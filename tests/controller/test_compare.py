"""Naming the hosts that differ from the others of their service."""

from controller import compare
from controller.endings import State
from controller.host_report import HostReport
from fleetmedic.v1.agent_pb2 import CheckResponse
from fleetmedic.v1.finding_pb2 import STATUS_OK, STATUS_WARN, Fact, Finding, Subject


def report(host: str, *values: str, fact: str = "Python of orders", rule: str = "PY-VERSION") -> HostReport:
    findings = [Finding(id=rule, status=STATUS_OK, subject=Subject(service="orders")) for _ in values]
    facts = [Fact(rule=rule, service="orders", name=fact, value=value) for value in values]
    return HostReport(host, State.OK, "", 0.1, CheckResponse(findings=findings, facts=facts, last=True))


def odd(*reports: HostReport) -> dict[str, str]:
    """The summaries of what was added, by host."""
    return {
        item.host: finding.summary
        for item in compare.with_odd_ones_out(reports)
        for finding in item.answer.findings
        if finding.subject.kind == compare.KIND
    }


def test_hosts_that_agree_are_left_as_they_are() -> None:
    reports = (report("a", "3.11.2"), report("b", "3.11.2"), report("c"))
    assert compare.with_odd_ones_out(reports) == reports


def test_the_host_that_differs_is_warned_of_and_no_other() -> None:
    found = odd(report("a", "3.11.2"), report("b", "3.11.2"), report("c", "3.12.1"))
    assert found == {"c": "3.12.1, as on 1 of 3; the usual one is 3.11.2"}


def test_where_no_value_is_usual_every_host_is_told() -> None:
    found = odd(report("a", "1"), report("b", "2"))
    assert found == {
        "a": "1, as on 1 of 2; and there is no usual one",
        "b": "2, as on 1 of 2; and there is no usual one",
    }


def test_facts_of_other_names_or_rules_are_not_compared() -> None:
    assert odd(report("a", "1"), report("b", "2", fact="Python of carts"), report("c", "3", rule="HTTP-ASSETS")) == {}


def test_two_containers_of_one_service_may_differ_on_one_host() -> None:
    assert odd(report("a", "1", "1", "2")) == {"a": "2, as on 1 of 3; the usual one is 1"}


def test_what_is_added_is_a_warning_with_every_value_and_leaves_the_given_report_alone() -> None:
    given = report("c", "3.12.1")
    (_, _, told) = compare.with_odd_ones_out((report("a", "3.11.2"), report("b", "3.11.2"), given))
    added = told.answer.findings[-1]
    assert (added.id, added.status, added.subject.service) == ("PY-VERSION", STATUS_WARN, "orders")
    assert [list(row.cells) for row in added.table.rows] == [["3.11.2", "2", "a b"], ["3.12.1", "1", "c"]]
    assert told.warns
    assert told.state == State.OK
    assert not given.warns
    assert len(given.answer.findings) == 1


def test_a_hostile_host_s_value_is_cut() -> None:
    found = odd(report("a", "x" * 10_000), report("b", "1"), report("c", "1"))
    assert len(found["a"]) < 200
