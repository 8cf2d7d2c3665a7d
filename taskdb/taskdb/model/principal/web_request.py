"""The two values of a web request that a client can forge: the request id and the address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

REQUEST_ID = "X-Request-ID"
HEADERS = ("X-Forwarded-For", "Forwarded")
"""The headers in which a proxy may write an address."""
UNIX = "unix"
"""A peer without an address: a proxy on a Unix socket."""
_ID_BYTES = 200
_MOST_HOPS = 32
_PORT = re.compile(r":\d{1,5}\Z")
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|[^",;]++|.', re.DOTALL)

IPAddress = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def request_id_of(given: str | None) -> str | None:
    """Return the id that a request names; None if it is empty, too long or not printable."""
    text = (given or "").strip()
    if not text or len(text) > _ID_BYTES or not text.isprintable():
        return None
    return text if len(text.encode()) <= _ID_BYTES else None


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies that may set the address of a client, and the header that they write."""

    networks: tuple[Network, ...] = ()
    trusts_unix: bool = False
    header: str = "X-Forwarded-For"

    @classmethod
    def parse(cls, words: Iterable[str], header: str = "X-Forwarded-For") -> TrustedProxies:
        """Return the proxies of networks such as `10.1.0.0/16`, and of the word `unix`.

        Raises ValueError for any other text.
        """
        given = [word.strip() for word in words]
        networks = tuple(_network(word) for word in given if word != UNIX)
        return cls(networks, UNIX in given, header)

    def client_of(self, peer: str | None, lines: Sequence[str]) -> str | None:
        """Return the address of the client as text; None for a peer without one.

        `lines` are the values of the header, in order. Each proxy appends the address of its peer,
        so they are read from the right, and only as far as a trusted proxy wrote them: the client
        can forge everything left of the first address that is not trusted.
        """
        nearest = _address(peer)
        if not self._is_trusted(nearest):
            return None if nearest is None else str(nearest)
        for hop in self._hops(lines):
            if hop is None:
                # Not an address, or `unknown`: only the proxy that wrote it is known.
                break
            nearest = hop
            if not self._is_trusted(hop):
                break
        return None if nearest is None else str(nearest)

    def _is_trusted(self, address: IPAddress | None) -> bool:
        if address is None:
            return self.trusts_unix
        return any(address in network for network in self.networks)

    def _hops(self, lines: Sequence[str]) -> Iterator[IPAddress | None]:
        """Yield the addresses that proxies wrote, the nearest first."""
        spelled: list[str] = []
        for line in lines:
            spelled += _fors(line) if self.header == "Forwarded" else line.split(",")
        return (_address(one) for one in reversed(spelled[-_MOST_HOPS:]))


@lru_cache(maxsize=16)
def trusted_proxies_of(words: tuple[str, ...], header: str) -> TrustedProxies:
    """Return `TrustedProxies.parse`, cached for the same words."""
    return TrustedProxies.parse(words, header)


def _network(word: str) -> Network:
    try:
        return ip_network(word)
    except ValueError as error:
        raise ValueError(f"{error}; write 10.1.0.0/16, fd00::/8 or {UNIX}") from None


def _fors(line: str) -> list[str]:
    """Return the `for` of each element of a `Forwarded`; one empty text for an open quote.

    After an open quote, the text that a proxy appends would be a part of the client's text.
    """
    elements = [[""]]
    for piece in (found[0] for found in _PIECE.finditer(line)):
        if piece == '"':
            return [""]
        if piece == ",":
            elements.append([""])
        elif piece == ";":
            elements[-1].append("")
        else:
            elements[-1][-1] += piece
    return [_for(parameters) for parameters in elements]


def _for(parameters: Iterable[str]) -> str:
    """Return the value of the parameter `for`; empty if there is none, or more than one."""
    pairs = (one.partition("=") for one in parameters)
    found = [value.strip() for name, _, value in pairs if name.strip().lower() == "for"]
    if len(found) != 1:
        return ""
    is_quoted = found[0].startswith('"') and found[0].endswith('"')
    return found[0][1:-1] if is_quoted else found[0]


def _address(text: str | None) -> IPAddress | None:
    """Return an address without its port, zone and brackets; None for any other text."""
    bare = (text or "").strip()
    if bare.startswith("["):
        bare, _, port = bare[1:].partition("]")
        if port and not _PORT.fullmatch(port):
            return None
    elif bare.count(":") == 1:
        bare = _PORT.sub("", bare)
    try:
        found = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return found if mapped is None else mapped
