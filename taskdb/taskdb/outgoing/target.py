"""Decides which targets get messages: a user names a target, and it must not be in our network.

Without this guard a user could make us send requests to a database, a metadata service or any other
service that trusts our network. For each connection, the name is resolved once, all of its
addresses are checked, and the connection uses one of exactly these: a second look-up could return
another address. An error never contains the address of a name, since users read errors; only the
operator's log has it.
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
from taskdb.logger import get_logger
from taskdb.outgoing.special_address import Network, special_use

log = get_logger("taskdb.outbound")

Resolve = Callable[[str, int], Sequence[str]]

MAX_URL = 2_048
HTTPS = 443
_PORTS = {"http": 80, "https": HTTPS}
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_AMBIGUOUS = re.compile("[\u00df\u03c2\u200c\u200d]")
"""Characters that IDNA 2003 (Python) replaces and browsers keep: the host would differ."""
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of an allowed URL."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header: the port only if it is not the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Target:
        """Return the parts of an http or https URL; raises TargetRefused for any other.

        A URL with a user or password is refused, since lists show targets.
        """
        if len(url) > MAX_URL or _NOT_IN_A_URL.search(url):
            raise TargetRefused(f"it is longer than {MAX_URL} or has blanks or control characters")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise TargetRefused("it is not a URL: write https://host/path") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise TargetRefused("write a URL with a host, such as https://host/path")
        if parts.username is not None or parts.password is not None:
            raise TargetRefused(
                "it has a user or a password, which everyone who may list it would read: leave "
                "them out, and let the receiver verify the signature"
            )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not path.isascii():
            raise TargetRefused("its path is not ASCII: write it percent-encoded")
        chosen = _PORTS[parts.scheme] if port is None else port
        return cls(parts.scheme, _ascii_host(parts.hostname), chosen, path)


@dataclass(frozen=True, slots=True)
class Guard:
    """Decides which targets get messages: by default `https` on port 443 of public addresses.

    `networks`, `ports` and `allows_http` allow more. Plain `http` may use its own port 80.
    """

    networks: tuple[Network, ...] = ()
    ports: tuple[range, ...] = (range(HTTPS, HTTPS + 1),)
    allows_http: bool = False
    resolve: Resolve | None = None

    def target(self, url: str) -> Target:
        """Return the parts of a URL whose scheme and port are allowed; raises TargetRefused."""
        target = Target.parse(url)
        if target.scheme == "http" and not self.allows_http:
            raise TargetRefused(
                "it is not https: an operator may allow http in TASKDB_OUTBOUND_HTTP"
            )
        is_usual = target.port == _PORTS[target.scheme] and target.scheme == "http"
        if not is_usual and not any(target.port in ports for ports in self.ports):
            raise TargetRefused(
                f"port {target.port} is not allowed: an operator may allow it in "
                "TASKDB_OUTBOUND_PORTS"
            )
        return target

    def check(self, url: str, seconds: float = 5.0) -> Target:
        """Return the parts of a URL that a user names as a target; raises TargetRefused.

        A name that cannot be resolved now is accepted: each connection checks it again.
        """
        target = self.target(url)
        with suppress(DeliveryFailed):
            self.addresses(target.host, target.port, seconds)
        return target

    def addresses(self, host: str, port: int, seconds: float) -> list[str]:
        """Resolve the host now and return all its addresses, in the system's order.

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
        use = special_use(parsed)
        if use:
            log.info("target.refused", host=host, address=address, use=use)
            raise TargetRefused(
                f"{host} is not on the public internet: an operator may allow its network in "
                "TASKDB_OUTBOUND_PRIVATE"
            )


def system_addresses(host: str, port: int) -> list[str]:
    """Return the addresses from this machine's resolver, each once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _look_up(resolve: Resolve, host: str, port: int, seconds: float) -> Sequence[str]:
    """Resolve within `seconds`: the resolver of the system has no time limit to set."""
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
    if _literal(host) and "%" not in host:
        return host
    if _AMBIGUOUS.search(host):
        raise TargetRefused("two standards spell its host differently: write it as xn--…")
    try:
        spelled = host.encode("idna").decode("ascii")
    except UnicodeError:
        spelled = ""
    if not _HOST.fullmatch(spelled):
        raise TargetRefused("its host is not a name of the internet")
    return spelled
