"""Which addresses may be spoken to: a target is named by people, and must not reach the inside.

Without this guard, who may name a target could have us speak to a database, a metadata service or
anything else that trusts our network. A name is resolved once for each connection, what it gave is
judged, and exactly that is connected to; a second look-up could give another answer.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from taskdb.errors import DeliveryFailed, TargetRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

MAX_URL = 2_048
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be asked for, in its parts."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the Host header says: the port only where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Target:
        """The parts of an http or https URL; raises TargetRefused for what is none of ours.

        Names and passwords in it are refused, since targets are shown in lists.
        """
        if len(url) > MAX_URL or _NOT_IN_A_URL.search(url):
            raise TargetRefused(f"it is longer than {MAX_URL} or has blanks or control characters")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise TargetRefused("it is not a URL: write https://host/path") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise TargetRefused("only http:// and https:// URLs with a host are spoken to")
        if parts.username is not None or parts.password is not None:
            raise TargetRefused(
                "it has a user or a password, which everyone who may list it would read: leave "
                "them out, and let the receiver verify the signature"
            )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not path.isascii():
            raise TargetRefused("its path is not ASCII: write it percent-encoded")
        return cls(parts.scheme, _ascii_host(parts.hostname), port or _PORTS[parts.scheme], path)


@dataclass(frozen=True, slots=True)
class Guard:
    """Says which addresses a host may be spoken to at. Public ones, and those of `networks`."""

    networks: tuple[Network, ...] = ()
    resolve: Resolve | None = None

    def check(self, url: str, seconds: float = 5.0) -> Target:
        """The parts of a URL that someone wants to be told at; raises TargetRefused.

        A name that cannot be resolved now is not refused: it is judged at each connection.
        """
        target = Target.parse(url)
        with suppress(DeliveryFailed):
            self.addresses(target.host, target.port, seconds)
        return target

    def addresses(self, host: str, port: int, seconds: float) -> list[str]:
        """Every address of this host, resolved now, in the system's order.

        Raises TargetRefused if one of them is not allowed, and DeliveryFailed if there is none.
        """
        found = _look_up(self.resolve or system_addresses, host, port, seconds)
        for one in found:
            self._judge(host, one)
        return list(found)

    def _judge(self, host: str, address: str) -> None:
        parsed = ipaddress.ip_address(address)
        if any(parsed in network for network in self.networks):
            return
        reason = _why_not(parsed)
        if reason:
            raise TargetRefused(
                f"{host} is at {address}, which is {reason}: an operator may allow its network in "
                "TASKDB_OUTBOUND_PRIVATE"
            )


def system_addresses(host: str, port: int) -> list[str]:
    """What the resolver of this machine says, each address once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _why_not(address: Address) -> str:
    """Why this address is not one of the public network; empty if it is."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return "an IPv4 address in disguise"
        if address.sixtofour is not None or address.teredo is not None:
            return "a tunnel to an IPv4 address"
        if address in _NAT64:
            # What a network without IPv4 calls a public host; the host behind it is what counts.
            return _why_not(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    for is_so, reason in (
        (address.is_loopback, "this machine"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (address.is_unspecified, "no address"),
        (address.is_private, "private"),
        (address.is_reserved, "reserved"),
        (not address.is_global, "not public"),
    ):
        if is_so:
            return reason
    return ""


def _look_up(resolve: Resolve, host: str, port: int, seconds: float) -> Sequence[str]:
    """Resolve within a time: the system's resolver has no bound of its own that we could set."""
    literal = _literal(host)
    if literal:
        return [literal]
    answer: list[Sequence[str]] = []
    failure: list[Exception] = []

    def ask() -> None:
        try:
            answer.append(resolve(host, port))
        except (OSError, UnicodeError) as error:
            failure.append(error)

    asking = threading.Thread(target=ask, name="taskdb-resolve", daemon=True)
    asking.start()
    asking.join(seconds)
    if answer and answer[0]:
        return answer[0]
    why = str(failure[0]) if failure else "no answer in time"
    raise DeliveryFailed(f"the name {host} cannot be resolved ({why})")


def _literal(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


def _ascii_host(host: str) -> str:
    if _literal(host):
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise TargetRefused("its host is not a name of the internet") from None
