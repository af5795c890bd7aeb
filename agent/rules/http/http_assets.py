"""A front page and every script and stylesheet it names answer 200 with the right type.

A deployment that leaves one out shows users an empty page while every health URL is well; a server that answers its
front page for whatever it does not have (200, text/html) hides it from all who look at the status alone. Hosts
of one service should serve the same release: the controller says which do not.
"""

import shlex
from collections.abc import Iterator
from urllib.parse import urlsplit

from agent.rule import Limits, Seen, finding, metric, size, table
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_OK, Fact, Finding
from fleetmedic.v1.snapshot_pb2 import Asset, Snapshot

NEEDS = ("page",)
UNANSWERED = STATUS_ERROR
NEXT_PAGE = "is its server running, and what was deployed last? fleetmedic check {host} --include 'HTTP-*' --show all"
NEXT_ASSET = "what the page names was not deployed with it: deploy this host's assets again, or roll the page back"

TYPES = {
    "script": frozenset(
        {"text/javascript", "application/javascript", "application/x-javascript", "application/ecmascript"}
    ),
    "stylesheet": frozenset({"text/css"}),
}


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in seen.of("page"):
        yield _judged(snapshot)


def _judged(snapshot: Snapshot) -> Finding:
    page, target = snapshot.page, snapshot.target
    same = f"curl -sS -i {shlex.quote(target.name)}"
    answer = page.page
    if answer.error_class or answer.status != 200:
        said = f"{answer.status} {answer.reason_phrase}".strip()
        if answer.error_class:
            said = f"no answer ({answer.error_class} in phase {answer.phase}): {answer.error_text}"
        return finding(STATUS_CRIT, target, f"the page: {said}", equal_command=same, next_step=NEXT_PAGE)
    bad = [(item, wrong) for item in page.assets if (wrong := _wrong(item))]
    rows = [(item.url, item.kind, _wrong(item) or "ok", size(item.bytes)) for item in page.assets]
    asked = f"{len(page.assets)} scripts and stylesheets"
    beyond = [f"{page.elsewhere} at other places"] * bool(page.elsewhere) + [f"{page.left_out} more"] * bool(
        page.left_out
    )
    passed_over = f" ({' and '.join(beyond)} not asked for)" if beyond else ""
    metrics = [metric("bad_assets", len(bad), "count"), metric("assets", len(page.assets), "count")]
    if bad:
        first, wrong = bad[0]
        summary = f"{len(bad)} of {asked} can't be used, {first.url}: {wrong}{passed_over}"
        made = finding(
            STATUS_CRIT, target, summary, metrics=metrics, table=table(("url", "kind", "answer", "size"), rows)
        )
        made.equal_command, made.next = f"curl -sS -i {shlex.quote(first.url)}", NEXT_ASSET
        return made
    release = f", release {page.release}" if page.release else ""
    made = finding(STATUS_OK, target, f"200 with {asked}{release}{passed_over}", metrics=metrics, equal_command=same)
    if page.release:
        # A service may have several pages; where it is served differs from host to host.
        address = urlsplit(target.name)
        where = f"{address.port or ''}{address.path}"
        made.facts.append(Fact(name=f"release of {target.service} at {where}", value=page.release))
    return made


def _wrong(item: Asset) -> str:
    if item.error_text:
        return item.error_text
    if item.status != 200:
        return f"{item.status}"
    if item.content_type not in TYPES[item.kind]:
        return f"200 with type {item.content_type or 'of nothing'}, which is no {item.kind}"
    return ""
