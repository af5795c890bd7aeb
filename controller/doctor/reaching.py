"""Name, route, port, TLS and identity of one agent: as far as can be known without an answer of its own."""

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509

from controller import calling
from controller.calling import Unreachable
from controller.doctor import handshake
from controller.doctor.handshake import NoTls, Place, Seen
from controller.doctor.ours import Ours, names_of
from controller.doctor.steps import Diagnosis, Fault, Passed, Step
from controller.inventory.connection import Endpoint

# Seconds for each step, two of them for TLS and two more looks where it fails; the question that follows has four, and
# a host ten in all.
NAME_PATIENCE = 1.5
TCP_PATIENCE = 1.5
TLS_PATIENCE = 1.5
# Apart by more than this, clocks are off.
CLOCK_LIMIT = timedelta(seconds=5)
Utc = Callable[[], datetime]


class _Found(Exception):
    def __init__(self, step: Step, evidence: str, mend: str) -> None:
        super().__init__(evidence)
        self.fault = Fault(step, evidence, mend)


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of it, and the address that was dialled; no fault means that the agent can be asked."""

    diagnosis: Diagnosis
    address: str


async def reach(endpoint: Endpoint, ours: Ours, utc: Utc, slots: asyncio.Semaphore) -> Reached:
    """Never raises for what a host does. `slots` bound how many do TLS at once, which costs our own processor."""
    passed: list[Passed] = []
    address = endpoint.address
    try:
        address = await _name(endpoint, passed)
        place = Place(address, endpoint.port, endpoint.name)
        await _port(place, passed)
        async with slots:
            await _secured(place, ours, utc, passed)
    except _Found as found:
        return Reached(Diagnosis(endpoint.name, tuple(passed), found.fault), address)
    return Reached(Diagnosis(endpoint.name, tuple(passed)), address)


async def _name(endpoint: Endpoint, passed: list[Passed]) -> str:
    try:
        address = str(ip_address(endpoint.address))
    except ValueError:
        pass
    else:
        passed.append(Passed(Step.NAME, f"the inventory says {address}"))
        return address
    try:
        address = await calling.resolve(endpoint.address, NAME_PATIENCE)
    except Unreachable as error:
        mend = "mend it in DNS or /etc/hosts, or give the host's fleetmedic_address in the inventory"
        raise _Found(Step.NAME, str(error), mend) from error
    passed.append(Passed(Step.NAME, f"{endpoint.address} is {address}"))
    return address


async def _port(place: Place, passed: list[Passed]) -> None:
    """Route and port: one connect tells both."""
    at = f"{place.address} port {place.port}"
    try:
        async with asyncio.timeout(TCP_PATIENCE):
            _, writer = await asyncio.open_connection(place.address, place.port)
    except TimeoutError as error:
        raise _Found(
            Step.ROUTE,
            f"no TCP answer from {at} in {TCP_PATIENCE:g}s: host down, or packets dropped",
            f"is the host up, and is that its address? A firewall must let port {place.port} through from here",
        ) from error
    except OSError as error:
        if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
            passed.append(Passed(Step.ROUTE, f"{place.address} answers"))
            raise _Found(
                Step.PORT,
                f"TCP {place.port} refused: no agent listens there",
                "start it there: systemctl start fleetmedic-agent-serve; where it never was: "
                "`fleetmedic agent install {host}`; where it listens elsewhere, give fleetmedic_port in the inventory",
            ) from error
        raise _Found(
            Step.ROUTE,
            f"no way to {at}: {_why(error)}",
            "look at the route to that address, and at firewalls between, which may say so in the host's place",
        ) from error
    writer.transport.abort()
    passed += [Passed(Step.ROUTE, f"{place.address} answers"), Passed(Step.PORT, f"TCP {place.port} accepts")]


def _why(error: OSError) -> str:
    # asyncio's own text names the address once more.
    return (os.strerror(error.errno) if error.errno else type(error).__name__).lower()


async def _secured(place: Place, ours: Ours, utc: Utc, passed: list[Passed]) -> None:
    try:
        seen = await handshake.look(place, ours, TLS_PATIENCE)
    except NoTls as error:
        raise _Found(
            Step.TLS,
            str(error),
            "an agent that is stopped, or another program on its port: systemctl status fleetmedic-agent-serve there, "
            "and fleetmedic_port in the inventory",
        ) from error
    there = None if seen.http2 and not seen.untrusted else await handshake.clock(place, TLS_PATIENCE)
    off = _off(seen, ours, there, utc())
    if not off:
        _tls(seen, ours, utc())
    passed.append(Passed(Step.TLS, f"TLS 1.3; its certificate is of our authority, until {_day(_ends(seen))}"))
    _identity(seen, place)
    passed.append(Passed(Step.IDENTITY, f"its certificate is {place.name}'s"))
    if off:
        raise _Found(Step.CLOCK, off, CLOCK_MEND)


CLOCK_MEND = "set the time on the side that is wrong: timedatectl set-ntp true"


def _off(seen: Seen, ours: Ours, there: datetime | None, here: datetime) -> str:
    """The clocks, where they alone are why a certificate is not taken, by us or by the agent; else nothing."""
    if there is None or abs(there - here) <= CLOCK_LIMIT:
        return ""
    apart = f"its clock says {_minute(there)} and ours {_minute(here)}"
    served = seen.certificate
    if seen.untrusted:
        holds = seen.out_of_time and served.not_valid_before_utc <= there < served.not_valid_after_utc
        return f"{apart}: by ours its certificate is out of date" if holds else ""
    return (
        "" if seen.accepted or ours.begins <= there < ours.ends else f"{apart}: by its our certificate is out of date"
    )


def _tls(seen: Seen, ours: Ours, here: datetime) -> None:
    certificate = seen.certificate
    if seen.out_of_time and here >= _ends(seen):
        raise _Found(
            Step.TLS,
            f"its certificate ended on {_minute(_ends(seen))}",
            "it can't be renewed any more: `fleetmedic agent install {host}` puts a new one there",
        )
    if seen.out_of_time:
        raise _Found(
            Step.TLS,
            f"its certificate is not valid before {_minute(certificate.not_valid_before_utc)}, "
            f"and here it is {_minute(here)}",
            "is this machine's clock right? Else `fleetmedic agent install {host}` puts a new one there",
        )
    if seen.untrusted:
        raise _Found(
            Step.TLS,
            f"its certificate ({_said(certificate)}) is not of the authority in --ca: {seen.untrusted}",
            "give the authority of this fleet's agents with --ca; an agent of another authority gets a certificate "
            "of ours by `fleetmedic agent install {host}`",
        )
    if not seen.accepted:
        raise _Found(
            Step.TLS,
            f"it refuses our certificate, which is by {ours.issuer}",
            "it trusts other operators, by its /etc/fleetmedic/operator-ca.crt: call with a certificate of theirs "
            "(--certificate, --key), or `fleetmedic agent install {host}` makes it trust ours",
        )
    if not seen.http2:
        raise _Found(
            Step.TLS,
            "what answers speaks TLS and no HTTP/2: it is no agent",
            "another program has the port: look with ss -ltnp there, and at fleetmedic_port in the inventory",
        )


def _identity(seen: Seen, place: Place) -> None:
    names = names_of(seen.certificate)
    if place.name.lower() not in [name.lower() for name in names]:
        raise _Found(
            Step.IDENTITY,
            f"another host answers there: its certificate is {' '.join(names[:3])[:200] or 'nobody'}'s, "
            f"not {place.name}'s",
            f"mend fleetmedic_address of {place.name} in the inventory ({place.address} is another host's); "
            "a host that was renamed gets its certificate by `fleetmedic agent install {host}`",
        )


def _said(certificate: x509.Certificate) -> str:
    names = " ".join(names_of(certificate)[:3])[:200] or "no name"
    return f"{names}, by {certificate.issuer.rfc4514_string()[:200] or 'nobody'}"


def _ends(seen: Seen) -> datetime:
    return seen.certificate.not_valid_after_utc


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d}"


def _minute(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%SZ}"
