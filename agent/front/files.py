"""What the front goes by, in memory: its own certificate, the operators' authorities and the denylist.

The files are looked at every second or so. What is new there is checked before it is used: junk keeps the last good,
and is an alarm.
"""

import datetime
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import cast

import grpc
from cryptography import x509

from agent import denylist, operators, own_certificate
from agent.config import Config, TlsFiles
from agent.denylist import Denylist, DenylistError, Lists
from agent.front.alarms import Alarms
from agent.front.callers import Trusted
from agent.front.policy import Role
from agent.own_certificate import OwnCertificateError
from agent.toml_reader import ConfigError
from fleetmedic.v1.agent_pb2 import Standing

LARGEST = 1024 * 1024
Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Material:
    """The three TLS files as they were read, and what they say."""

    key: bytes
    chain: bytes
    client_ca: bytes
    leaf: x509.Certificate
    name: str
    authorities: tuple[x509.Certificate, ...]
    org: str


def read(files: TlsFiles) -> Material:
    """ConfigError names the file that can't be used, and why."""
    key, chain = _bytes(files.key, "key"), _bytes(files.certificate, "certificate")
    client_ca = _bytes(files.client_ca, "client_ca")
    try:
        leaf = own_certificate.checked_pair(key, chain)
        name = own_certificate.name_of(leaf)
    except OwnCertificateError as error:
        raise ConfigError(f"{files.certificate}: tls.certificate with {files.key}: {error}") from error
    try:
        authorities = operators.authorities(client_ca)
    except operators.AuthorityError as error:
        raise ConfigError(f"{files.client_ca}: tls.client_ca {error}") from error
    return Material(key, chain, client_ca, leaf, name, authorities, operators.organisation(authorities))


def _bytes(path: Path, field: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST)
    except OSError as error:
        raise ConfigError(f"{path}: tls.{field} can't be read: {error.strerror}") from error


class Held:
    """The files of a running front. ConfigError at its start where it can't serve with them."""

    def __init__(self, config: Config, tls: TlsFiles, utc: Callable[[], datetime.datetime], alarms: Alarms) -> None:
        self.tls = tls
        self.utc = utc
        self._denylist_file = config.trust / "denylist.pem"
        self._lowered: Mapping[str, Role] = {user: Role[role.upper()] for user, role in config.roles.items()}
        self._alarms = alarms
        self._lock = RLock()
        self._stamps: dict[str, Stamp] = {"tls": _stamp(tls.certificate, tls.key, tls.client_ca)}
        self._material = read(tls)
        self.name = self._material.name
        self._trusted = Trusted(self._material.org, self._material.authorities, {}, self._lowered)
        # At most the last one, and without a lock: a handshake must not wait for a disk.
        self._fresh: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)
        self.look()

    def trusted(self) -> Trusted:
        return self._trusted

    def credentials(self) -> grpc.ServerCredentials:
        """Each handshake asks for what is new, from memory alone: handshakes wait for one another."""
        # None for nothing new, whatever the stubs say.
        changed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._changed)
        return grpc.dynamic_ssl_server_credentials(self._configuration(), changed, require_client_authentication=True)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = (self._material.key, self._material.chain)
        return grpc.ssl_server_certificate_configuration([pair], self._material.client_ca)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Each configuration once: a new one, even of the same files, ends all TLS sessions that could resume."""
        try:
            return self._fresh.pop()
        except IndexError:
            return None

    def look(self, *, anew: bool = False) -> None:
        """Takes in what has changed in the files; `anew` looks into them whether or not they seem to have."""
        with self._lock:
            if self._moved("tls", anew, self.tls.certificate, self.tls.key, self.tls.client_ca):
                self._look_at_tls()
                # The file may hold a list of an authority that is new.
                anew = True
            if self._moved("denylist", anew, self._denylist_file):
                self._look_at_denylist()
        self._tell_times()

    def _moved(self, kind: str, anew: bool, *paths: Path) -> bool:  # noqa: FBT001 - passed on
        stamp = _stamp(*paths)
        before, self._stamps[kind] = self._stamps.get(kind), stamp
        return anew or stamp != before or self._alarms.standing(kind)

    def _look_at_tls(self) -> None:
        try:
            found = self._replacing(read(self.tls))
        except ConfigError as error:
            self._alarms.set("tls", f"{error}; the ones before go on to be used")
            return
        self._material = found
        self._trust(self._trusted.denylists)
        self._alarms.set("tls", "")

    def _replacing(self, found: Material) -> Material:
        """What may take the place of the files that were read before. ConfigError for what may not."""
        if found.name != self.name:
            raise ConfigError(f"{self.tls.certificate}: is for {found.name}, and this agent is {self.name}")
        if found.leaf != self._material.leaf and not _in_time(found.leaf, self.utc()):
            raise ConfigError(f"{self.tls.certificate}: is not valid at this host's time")
        return found

    def _look_at_denylist(self) -> None:
        try:
            with self._denylist_file.open("rb") as file:
                problem = self._take_kept(file.read(LARGEST))
            problem = problem and f"{self._denylist_file}: {problem}"
        except FileNotFoundError:
            problem = f"there is no denylist at {self._denylist_file}: fleetmedic pki push brings it"
        except OSError as error:
            problem = f"{self._denylist_file}: can't be read: {error.strerror}"
        kept = " and ".join(str(found.number) for found in self._trusted.denylists.values())
        self._alarms.set("denylist", problem and problem + (f"; number {kept} goes on to be used" if kept else ""))

    def _take_kept(self, pem: bytes) -> str:
        """Each list that can be taken; what is wrong with the others."""
        kept, problem = denylist.read_kept(pem, self._material.authorities)
        for found in kept.values():
            try:
                self.take(found)
            except DenylistError as error:
                problem = problem or str(error)
        return problem

    def checked(self, pem: bytes) -> Denylist:
        """A list to go by, which is not taken yet. DenylistError, OlderList."""
        offered = denylist.read(pem, self._material.authorities)
        return denylist.newer(offered, self._trusted.denylists.get(offered.issuer))

    def take(self, offered: Denylist) -> None:
        """Goes by a list from now on, beside those of other authorities. OlderList where a newer one is here."""
        with self._lock:
            held = self._trusted.denylists
            lists = denylist.merged(held, offered, self._material.authorities)
            before, after = held.get(offered.issuer), lists.get(offered.issuer)
            # The file that the worker wrote is looked at too: the same list ends no sessions twice.
            if after and (before is None or before.fingerprint != after.fingerprint):
                self._trust(lists)

    def _trust(self, denied: Lists) -> None:
        authorities = self._material.authorities
        counting = denylist.counting(denied, authorities)
        self._trusted = Trusted(self._material.org, authorities, counting, self._lowered)
        self._fresh.append(self._configuration())

    def _tell_times(self) -> None:
        """What ends by itself."""
        now, leaf = self.utc(), self._material.leaf
        ends = [denied.renew_by for denied in self._trusted.denylists.values() if denied.renew_by]
        stale = any(end < now for end in ends)
        self._alarms.set("stale", "the denylist is out of date: fleetmedic pki push brings a new one" if stale else "")
        ended = leaf.not_valid_after_utc <= now
        self._alarms.set("ended", f"{self.tls.certificate}: the agent's certificate has ended" if ended else "")

    def complete(self, standing: Standing) -> None:
        """Adds to how the worker stands what the front alone knows."""
        trusted = self._trusted
        standing.denylist_sequence = denylist.number(trusted.denylists, trusted.authorities)
        standing.certificate_expire_time.FromDatetime(self._material.leaf.not_valid_after_utc)
        standing.alarms.extend(self._alarms.all())


def _in_time(leaf: x509.Certificate, now: datetime.datetime) -> bool:
    return leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc


def _stamp(*paths: Path) -> Stamp:
    return tuple(map(_stamp_of, paths))


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_ino, about.st_size
