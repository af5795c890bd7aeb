"""Names resolve, by the system and by each of its name servers, within half a second.

Every host that asks for a name should get the same addresses: the controller says which do not, for a record that was
moved is stale there, or their resolver is another.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Level, Limit, Limits, Seen, age, finding, metric, seconds, table
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_OK, STATUS_WARN, Fact, Finding
from fleetmedic.v1.snapshot_pb2 import DnsAnswer, Snapshot

NEEDS = ("dns",)
UNANSWERED = STATUS_ERROR
SLOW = Limit("slow_seconds", 0.5, "seconds", "own")
OWN = frozenset({"127.0.0.1", "127.0.1.1", "::1"})
NO_NAME = frozenset({"NXDOMAIN", "not a name"})
NEXT_NAME = "no server knows the name: is it spelt right, was its record deleted, does the search domain fit?"
NEXT_SERVER = "the name servers fail: look at the resolver and the network to it before you look at the service"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("dns"):
        yield _judged(snapshot, limits.of(SLOW))


def _judged(snapshot: Snapshot, slow: Limit) -> Finding:
    dns = snapshot.dns
    took = seconds(dns.system.took)
    status, said = _said(snapshot, took, slow)
    rows = [
        (item.server, item.code, " ".join(item.addresses), age(seconds(item.took)))
        for item in (dns.system, *dns.servers)
    ]
    unknown = any(item.code in NO_NAME for item in (dns.system, *dns.servers))
    made = finding(
        status,
        snapshot.target,
        f"{dns.name}: {said}",
        metrics=[metric("seconds", took, "seconds", slow)],
        table=table(("server", "code", "addresses", "took"), rows),
        equal_command=f"getent hosts {shlex.quote(dns.name)}; nslookup {shlex.quote(dns.name)}",
        next_step=NEXT_NAME if unknown else NEXT_SERVER,
    )
    # This host's own address it may well call by another name.
    if dns.system.addresses and not all(address in OWN for address in dns.system.addresses):
        made.facts.append(Fact(name=f"addresses of {dns.name}", value=" ".join(sorted(dns.system.addresses))))
    return made


def _said(snapshot: Snapshot, took: float, slow: Limit) -> tuple[Level, str]:
    dns = snapshot.dns
    known = any(item.code == "NOERROR" for item in dns.servers)
    bad = [item for item in dns.servers if not _fine(item, system=dns.system, known=known)]
    by_server = ", ".join(f"{item.server} {item.code}" for item in dns.servers)
    if dns.system.code != "NOERROR":
        return (
            STATUS_CRIT,
            f"does not resolve: {dns.system.code} after {age(took)} ({by_server or 'no name server set'})",
        )
    if bad:
        named = ", ".join(f"{item.server} answers {item.code}" for item in bad)
        return STATUS_WARN, f"{len(bad)} of {len(dns.servers)} name servers fail: {named}"
    addresses = " ".join(dns.system.addresses)
    if took > slow.value:
        return STATUS_WARN, f"resolves in {age(took)} (limit {age(slow.value)}) to {addresses}"
    return STATUS_OK, f"resolves in {1000 * took:.0f} ms to {addresses}"


def _fine(answer: DnsAnswer, *, system: DnsAnswer, known: bool) -> bool:
    """A name from /etc/hosts is no name server's business: where none knows it, none is at fault."""
    return answer.code == "NOERROR" or (answer.code == "NXDOMAIN" and system.code == "NOERROR" and not known)
