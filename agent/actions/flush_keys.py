"""Deletes the keys of a cache that agent.toml lists, a few at a time.

Never all keys, and never with KEYS, FLUSHDB or a list that a shell divides (checks.md D9): SCAN finds them, UNLINK
frees them beside Redis's own work, and whoever else uses the server goes first.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from agent import budgets, observing
from agent.action import Failed, Hand, amount, effect, not_allowed, not_now
from agent.check import Medic
from agent.config import login_for, secret
from agent.permitted import Keys
from agent.probes import network
from agent.probes.redis import shape
from agent.rule import size
from fleetmedic.v1.action_pb2 import RISK_MODERATE, FlushKeys, Plan
from fleetmedic.v1.finding_pb2 import Subject
from fleetmedic.v1.snapshot_pb2 import RedisSnapshot, Target

RISK = RISK_MODERATE
CURES = ("REDIS-MEM-NEAR-MAX", "REDIS-NOEVICTION-FULL")
SETTLE = 5.0
# How many keys are asked for, and freed, at once.
STEP = 500
# The share of Redis's time that this may take: it serves one at a time.
DUTY = 0.2
# To look is to plan: it ends after so many seconds, and what was not seen is reckoned from what was.
LOOKING = 12.0
DELETING = 300.0
SAMPLED = 200
NAMED = 5
# It stops where a PING takes longer than this, in seconds, and than so many times what it took before.
SLOW = 0.05
SLOWER = 5.0
PINGS = 5
# More keys than this share over what was planned are somebody else's new ones.
TOLERANCE = 0.2
MEND = 'agent.toml of this host lists no such keys: [[actions.keys]] service = "{service}" pattern = "cache:*"'
RIGHTS = "ACL SETUSER {user} +scan +unlink +memory|usage +pttl +dbsize +ping +select ~{pattern}"


@dataclass(slots=True)
class Seen:
    """What a look at the keys found."""

    keys: int = 0
    size: int = 0
    weighed: int = 0
    scanned: int = 0
    whole: bool = True
    lasting: int = 0
    asked: int = 0
    names: list[bytes] = field(default_factory=list)

    def share_seen(self, all_keys: int) -> float:
        """Of the keys that there are."""
        return 1.0 if self.whole or not all_keys else max(1e-6, min(1.0, self.scanned / all_keys))


def plan(asked: FlushKeys, medic: Medic) -> Plan:
    target = observing.the_one(medic, "redis", asked.service, "Redis server")
    keys = _listed(asked.pattern, target, medic)
    state = observing.look(medic, target).redis
    _hold_to(state, target)
    with _connection(target, medic, keys) as server, _answering(target):
        _may_delete(server, keys)
        there = server.dbsize()
        seen = _looked(server, keys)
    made = Plan(subject=Subject(service=target.service, kind="redis", name=target.name))
    if not seen.keys:
        made.summary = f"no key matches {keys.pattern}"
        return made
    _tell(made, keys, state, seen, there)
    return made


def _listed(pattern: str, target: Target, medic: Medic) -> Keys:
    listed = [keys for keys in medic.config.actions.keys if keys.service == target.service]
    found = next((keys for keys in listed if keys.pattern == pattern), None)
    if found is None:
        known = ", ".join(keys.pattern for keys in listed)
        raise not_allowed(f"of {target.service} these may be deleted: {known}" if known else _mend(target))
    return found


def _mend(target: Target) -> str:
    return MEND.replace("{service}", target.service)


def _hold_to(state: RedisSnapshot, target: Target) -> None:
    if state.error_class and state.error_class != "MISCONF":
        raise not_now(f"{target.name} can't be looked at: {state.error_text}")
    if state.role in ("slave", "replica"):
        raise not_now(f"{target.name} is a replica: its keys are its master's")


def _tell(made: Plan, keys: Keys, state: RedisSnapshot, seen: Seen, there: int) -> None:
    share = seen.share_seen(there)
    count = round(seen.keys / share)
    freed = round(seen.size / max(1, seen.weighed) * count)
    about = "" if seen.whole else "about "
    made.summary = f"{about}{count:,} keys match {keys.pattern} in database {keys.database}, {size(freed)} of memory"
    made.effects.append(effect("keys", keys.pattern, f"{keys.database} {keys.pattern}", "delete"))
    made.amounts.append(amount("keys", count, "keys", TOLERANCE))
    made.amounts.append(amount("memory", freed, "bytes", TOLERANCE))
    made.table.columns.extend(("pattern", "keys", "memory", "with an expiry", "of all keys"))
    lasting = f"{1 - seen.lasting / max(1, seen.asked):.0%}"
    made.table.rows.add(cells=(keys.pattern, f"{about}{count:,}", f"~{size(freed)}", lasting, f"{there:,}"))
    made.kept.append(f"{max(0, there - count):,} other keys of database {keys.database}, and all other databases")
    made.evidence.append("redis.json")
    made.steps.extend(
        (
            f"SCAN MATCH {keys.pattern} COUNT {STEP}, and UNLINK of what it finds, at most {DUTY:.0%} of the time",
            f"stops where a PING takes more than {SLOW * 1000:.0f} ms and {SLOWER:.0f} times what it took before",
        )
    )
    made.irreversible = "deleted keys come back only as those who use them make them anew"
    if seen.lasting:
        made.warnings.append(f"{lasting} of the keys have an expiry: the others may be no cache's")
    if state.maxmemory_policy.startswith("allkeys"):
        made.warnings.append(f"the policy is {state.maxmemory_policy}: a full cache evicts by itself, and is no fault")
    made.warnings.append("all that these keys spared is asked of whatever is behind the cache, at once")
    select = f" -n {keys.database}" if keys.database else ""
    made.equal_commands.append(f"redis-cli{select} --scan --pattern '{keys.pattern}' | wc -l")


def apply(planned: Plan, hand: Hand, medic: Medic) -> str:
    asked = planned.action.flush_keys
    target = observing.the_one(medic, "redis", asked.service, "Redis server")
    keys = _listed(asked.pattern, target, medic)
    most = round((1 + TOLERANCE) * next(item.value for item in planned.amounts if item.name == "keys"))
    with _connection(target, medic, keys) as server, _connection(target, medic, keys) as other:
        usual = _ping(other)
        hand.keep("redis.json", _evidence(server, keys))
        hand.at("effect sent")
        deleted = _deleted(server, keys, Guard(other, usual, most, hand.step, time.monotonic() + DELETING))
        hand.at("effect done")
        left = server.dbsize()
    return f"{deleted:,} keys deleted, {left:,} others are left in database {keys.database}"


def happened(planned: Plan, medic: Medic) -> str:
    asked = planned.action.flush_keys
    target = observing.the_one(medic, "redis", asked.service, "Redis server")
    keys = _listed(asked.pattern, target, medic)
    with _connection(target, medic, keys) as server:
        seen = _looked(server, keys)
    there = f"{'' if seen.whole else 'at least '}{seen.keys:,}"
    count = next((item.value for item in planned.amounts if item.name == "keys"), 0.0)
    return f"{there} of {count:,.0f} keys still match {keys.pattern}"


def _connection(target: Target, medic: Medic, keys: Keys) -> "redis.Redis":
    """Bounded, and without retries: a deletion is not sent twice."""
    network.join(target)
    login = login_for(target, medic.config.redis)
    place: dict[str, Any] = {"host": target.host, "port": target.port}
    if target.socket:
        place = {"unix_socket_path": target.socket}
    elif login is not None and login.tls:
        # As the probe: certificates are TLS-EXPIRY's to judge.
        place |= {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}
    return redis.Redis(
        db=keys.database,
        username=login.user or None if login else None,
        password=secret(login.password_file) or None if login else None,
        socket_timeout=budgets.REDIS_SOCKET,
        socket_connect_timeout=budgets.REDIS_SOCKET,
        retry=Retry(NoBackoff(), 0),
        single_connection_client=True,
        client_name="fleetmedic-agent",
        **place,
    )


@contextmanager
def _answering(target: Target) -> Iterator[None]:
    """Refused where the server is silent, or refuses."""
    try:
        yield
    except redis.exceptions.RedisError as error:
        raise not_now(f"{target.name} does not answer as it should: {type(error).__name__}") from error


def _may_delete(server: "redis.Redis", keys: Keys) -> None:
    """By a key that is not there. Refused where its login may not, or it is one of many servers with a part each."""
    absent = keys.pattern.replace("*", hashlib.sha256(str(time.time()).encode()).hexdigest()).replace("?", "~")
    try:
        if server.info("cluster").get("cluster_enabled"):
            raise not_now("this server is one of a cluster: its keys are not flushed")
        server.unlink(absent)
    except redis.exceptions.NoPermissionError as error:
        # Of the login's own, and told by its name alone.
        user = server.connection_pool.connection_kwargs.get("username") or "default"
        mend = RIGHTS.replace("{user}", user).replace("{pattern}", keys.pattern)
        raise not_allowed(f"the agent's login may not delete: {mend}") from error


def _looked(server: "redis.Redis", keys: Keys) -> Seen:
    seen, end = Seen(), time.monotonic() + LOOKING
    for scanned, found in _scanned(server, keys.pattern):
        seen.scanned = scanned
        seen.keys += len(found)
        _weigh(server, found, seen)
        if time.monotonic() > end:
            seen.whole = False
            break
    return seen


def _weigh(server: "redis.Redis", found: Sequence[bytes], seen: Seen) -> None:
    with server.pipeline(transaction=False) as line:
        for key in found:
            line.memory_usage(key, samples=5)
        sizes = _paced(line.execute)
        seen.size += sum(each or 0 for each in sizes)
        seen.weighed += len(sizes)
        sample = found[: max(0, SAMPLED - seen.asked)]
        for key in sample:
            line.pttl(key)
        # -1 is a key that does not expire.
        seen.lasting += sum(left == -1 for left in line.execute())
        seen.asked += len(sample)
        seen.names.extend(sample)


def _scanned(server: "redis.Redis", pattern: str) -> Iterator[tuple[int, Sequence[bytes]]]:
    """How many keys were gone over, about, and those that match, a step at a time; no key twice in one step."""
    cursor, scanned = 0, 0
    while True:
        cursor, found = _paced(lambda: server.scan(cursor, match=pattern, count=STEP))  # noqa: B023 - called at once
        scanned += STEP
        yield scanned, list(dict.fromkeys(found))
        if cursor == 0:
            return


def _paced(ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the library gives
    """Its answer, and a pause: the server's time is mostly others'."""
    began = time.monotonic()
    answer = ask()
    time.sleep((time.monotonic() - began) * (1 - DUTY) / DUTY)
    return answer


@dataclass(slots=True)
class Guard:
    """Looks after each step whether the next may follow."""

    other: "redis.Redis"
    usual: float
    most: int
    step: Callable[[str], None]
    end: float
    told: float = 0.0

    def hold(self, deleted: int) -> None:
        """Failed where it may not."""
        now = time.monotonic()
        if deleted > self.most:
            raise Failed(f"somebody makes more such keys than the {self.most:,} that were due at most")
        if now > self.end:
            raise Failed(f"not done after {DELETING:.0f} s")
        took = _ping(self.other, 1)
        if _late(took, self.usual) and _late(took := _ping(self.other), self.usual):
            raise Failed(f"a PING takes {took * 1000:.0f} ms, and took {self.usual * 1000:.1f} before")
        if now > self.told + 1:
            self.told = now
            self.step(f"{deleted:,} keys deleted")


def _late(took: float, usual: float) -> bool:
    return took > SLOW and took > SLOWER * usual


def _deleted(server: "redis.Redis", keys: Keys, guard: Guard) -> int:
    """How many. Failed, with the number so far, where it has to stop."""
    deleted = 0
    try:
        for _, found in _scanned(server, keys.pattern):
            for first in range(0, len(found), STEP):
                batch = found[first : first + STEP]
                deleted += _paced(lambda: server.unlink(*batch))  # noqa: B023 - called at once
                guard.hold(deleted)
    except Failed as error:
        raise Failed(f"stopped after {deleted:,} keys: {error}") from error
    except redis.exceptions.RedisError as error:
        raise Failed(f"stopped after at least {deleted:,} keys: {type(error).__name__}") from error
    return deleted


def _ping(server: "redis.Redis", times: int = PINGS) -> float:
    """Seconds for the fastest of so many."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        server.ping()
        took.append(time.monotonic() - began)
    return min(took)


def _evidence(server: "redis.Redis", keys: Keys) -> bytes:
    """How memory and keys stood, and what the keys look like: no key is told whole, for it may name a person."""
    sample = [_bytes(key) for key in server.scan(0, match=keys.pattern, count=10 * STEP)[1][:SAMPLED]]
    kinds = Counter(shape(["GET", key.decode(errors="replace")]) for key in sample)
    told: Mapping[str, object] = {
        "memory": server.info("memory"),
        "keyspace": server.info("keyspace"),
        "kinds of keys": dict(kinds.most_common()),
        "keys by hash": [hashlib.sha256(key).hexdigest()[:16] for key in sample[:NAMED]],
    }
    return json.dumps(told, indent=1, default=str).encode()


def _bytes(key: bytes | str) -> bytes:
    return key if isinstance(key, bytes) else key.encode()
