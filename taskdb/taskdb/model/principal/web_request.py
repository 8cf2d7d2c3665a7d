"""The two facts of a web request that a client can forge: the id that it names, and its address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

REQUEST_ID = "X-Request-ID"
HEADERS = ("X-Forwarded-For", "Forwarded")
"""Those in which a proxy may pass an address on."""
UNIX = "unix"
"""Names a peer without an address: a proxy that speaks over a Unix socket."""
_ID_BYTES = 200
_MOST_HOPS = 32
_PORT = re.compile(r":\d{1,5}\Z")
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|[^",;]++|.', re.DOTALL)

IPAddress = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def request_id_of(given: str | None) -> str | None:
    """The id that a request names; None for one that is empty, long or not printable."""
    text = (given or "").strip()
    if not text or len(text) > _ID_BYTES or not text.isprintable():
        return None
    return text if len(text.encode()) <= _ID_BYTES else None


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies whose word counts for the address of a client, and the header that they write."""

    networks: tuple[Network, ...] = ()
    trusts_unix: bool = False
    header: str = "X-Forwarded-For"

    @classmethod
    def parse(cls, words: Iterable[str], header: str = "X-Forwarded-For") -> TrustedProxies:
        """The proxies of networks such as `10.1.0.0/16`, and of the word `unix`.

        Raises ValueError for anything else.
        """
        given = [word.strip() for word in words]
        networks = tuple(_network(word) for word in given if word != UNIX)
        return cls(networks, UNIX in given, header)

    def client_of(self, peer: str | None, lines: Sequence[str]) -> str | None:
        """The address of the client, as text; None for a peer without one.

        `lines` are the values of the header, in order. Each proxy appends the address that spoke
        to it, so they are read from the right, and only as far as a trusted proxy wrote them:
        what stands left of the first address that is not trusted can be forged by its client.
        """
        nearest = _address(peer)
        if not self._is_trusted(nearest):
            return None if nearest is None else str(nearest)
        for hop in self._hops(lines):
            if hop is None:
                # Nonsense, or `unknown`: the proxy that wrote it is all that is known.
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
        """The addresses that proxies wrote, the nearest first."""
        spelled: list[str] = []
        for line in lines:
            spelled += _fors(line) if self.header == "Forwarded" else line.split(",")
        return (_address(one) for one in reversed(spelled[-_MOST_HOPS:]))


@lru_cache(maxsize=16)
def trusted_proxies_of(words: tuple[str, ...], header: str) -> TrustedProxies:
    """`TrustedProxies.parse`, once for the same words."""
    return TrustedProxies.parse(words, header)


def _network(word: str) -> Network:
    try:
        return ip_network(word)
    except ValueError as error:
        message = f"{error}; write 10.1.0.0/16, fd00::/8 or {UNIX}"
        raise ValueError(message) from None


def _fors(line: str) -> list[str]:
    """The `for` of each element of a `Forwarded`; one empty text for a quote that is left open.

    Behind an open quote, what a proxy appends would be a part of the client's own text.
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
    """The value of the one parameter `for`; empty where there is none, or several."""
    pairs = (one.partition("=") for one in parameters)
    found = [value.strip() for name, _, value in pairs if name.strip().lower() == "for"]
    if len(found) != 1:
        return ""
    is_quoted = found[0].startswith('"') and found[0].endswith('"')
    return found[0][1:-1] if is_quoted else found[0]


def _address(text: str | None) -> IPAddress | None:
    """An address without its port, zone and IPv6 clothing; None for what is none."""
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
