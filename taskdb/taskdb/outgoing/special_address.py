"""Addresses outside the public internet, in a list that this project maintains.

Sources: the IANA registries "IPv4 Special-Purpose Address Space" and "IPv6 Special-Purpose Address
Space", in their versions of October 2025, beside the multicast spaces, the ranges that were
withdrawn (site-local addresses, the 6bone, ORCHID) and the fixed addresses of cloud providers.
`ipaddress.is_global` is not used: its result depends on the version of Python. Ranges of the
registries that are globally reachable (AS112, AMT, PCP and TURN anycast) are refused as well, since
no receiver of messages has an address there.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_V4 = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("10.0.0.0/8"): "private",
    IPv4Network("100.64.0.0/10"): "shared by a provider",
    IPv4Network("127.0.0.0/8"): "this machine",
    IPv4Network("168.63.129.16/32"): "the platform service of a cloud provider",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("172.16.0.0/12"): "private",
    IPv4Network("192.0.0.0/24"): "for protocols",
    IPv4Network("192.0.2.0/24"): "for documentation",
    IPv4Network("192.31.196.0/24"): "AS112",
    IPv4Network("192.52.193.0/24"): "AMT",
    IPv4Network("192.88.99.0/24"): "6to4 relays",
    IPv4Network("192.168.0.0/16"): "private",
    IPv4Network("192.175.48.0/24"): "AS112",
    IPv4Network("198.18.0.0/15"): "for benchmarks",
    IPv4Network("198.51.100.0/24"): "for documentation",
    IPv4Network("203.0.113.0/24"): "for documentation",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}

_V6 = {
    IPv6Network("::/128"): "no address",
    IPv6Network("::1/128"): "this machine",
    IPv6Network("::ffff:0:0/96"): "an IPv4 address in disguise",
    IPv6Network("::/96"): "an IPv4 address in disguise",
    IPv6Network("64:ff9b:1::/48"): "a local translation to IPv4",
    IPv6Network("100::/64"): "discarded",
    IPv6Network("100:0:0:1::/64"): "a placeholder",
    IPv6Network("2001:0:0::/32"): "a tunnel to an IPv4 address",
    IPv6Network("2001::/23"): "for protocols",
    IPv6Network("2001:db8::/32"): "for documentation",
    IPv6Network("2002::/16"): "a tunnel to an IPv4 address",
    IPv6Network("2620:4f:8000::/48"): "AS112",
    IPv6Network("3ffe::/16"): "the former 6bone",
    IPv6Network("3fff::/20"): "for documentation",
    IPv6Network("5f00::/16"): "for segment routing",
    IPv6Network("fc00::/7"): "private",
    IPv6Network("fe80::/10"): "link-local",
    IPv6Network("fec0::/10"): "site-local",
    IPv6Network("ff00::/8"): "multicast",
}

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


def special_use(address: Address) -> str:
    """Return the special use of an address; empty for an address of the public internet."""
    if isinstance(address, IPv4Address):
        return next((use for network, use in _V4.items() if address in network), "")
    if address in _NAT64:
        # A network without IPv4 reaches public hosts this way, so the host's address counts.
        return special_use(IPv4Address(int(address) & 0xFFFF_FFFF))
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        return "a tunnel to an IPv4 address"
    found = next((use for network, use in _V6.items() if address in network), "")
    return found or ("" if address in _GLOBAL_UNICAST else "reserved")
