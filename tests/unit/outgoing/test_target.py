"""Which targets are spoken to: what people name must not reach the inside."""

from collections.abc import Callable
from ipaddress import ip_network

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from taskdb.errors import DeliveryFailed, TargetRefused
from taskdb.outgoing.special_address import Address, special_use
from taskdb.outgoing.target import Guard, Target

PUBLIC = "93.184.215.14"
REFUSED = (
    "this target is refused: evil.example is not on the public internet: an operator may allow its "
    "network in TASKDB_OUTBOUND_PRIVATE"
)


def answering(*addresses: str) -> Callable[[str, int], list[str]]:
    return lambda host, port: list(addresses)


SPECIAL = [
    ("0.0.0.0", "this network"),  # noqa: S104 - refused, not bound
    ("0.1.2.3", "this network"),
    ("10.1.2.3", "private"),
    ("100.64.0.1", "shared"),
    ("100.100.100.200", "shared"),
    ("127.0.0.1", "this machine"),
    ("127.8.8.8", "this machine"),
    ("168.63.129.16", "cloud"),
    ("169.254.169.254", "link-local"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.0", "protocols"),
    ("192.0.0.9", "protocols"),
    ("192.0.0.10", "protocols"),
    ("192.0.0.192", "protocols"),
    ("192.0.2.1", "documentation"),
    ("192.31.196.1", "AS112"),
    ("192.52.193.1", "AMT"),
    ("192.88.99.1", "6to4"),
    ("192.168.1.1", "private"),
    ("192.175.48.1", "AS112"),
    ("198.18.0.1", "benchmarks"),
    ("198.19.255.255", "benchmarks"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("::", "no address"),
    ("::1", "this machine"),
    ("::ffff:127.0.0.1", "disguise"),
    ("::ffff:93.184.215.14", "disguise"),
    ("::ffff:0:127.0.0.1", "reserved"),
    ("::127.0.0.1", "disguise"),
    ("::5db8:d70e", "disguise"),
    ("64:ff9b::7f00:1", "this machine"),
    ("64:ff9b::a9fe:a9fe", "link-local"),
    ("64:ff9b::a83f:8110", "cloud"),
    ("64:ff9b:1::1", "translation"),
    ("100::1", "discarded"),
    ("100:0:0:1::1", "placeholder"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "tunnel"),
    ("2001:1::1", "protocols"),
    ("2001:2::1", "protocols"),
    ("2001:10::1", "protocols"),
    ("2001:20::1", "protocols"),
    ("2001:30::1", "protocols"),
    ("2001:db8::1", "documentation"),
    ("2002:7f00:1::", "tunnel"),
    ("2002:5db8:d70e::1", "tunnel"),
    ("2606:2800::5efe:10.0.0.1", "tunnel"),
    ("2606:2800::200:5efe:5db8:d70e", "tunnel"),
    ("2620:4f:8000::1", "AS112"),
    ("3ffe::1", "6bone"),
    ("3fff::1", "documentation"),
    ("4000::1", "reserved"),
    ("5f00::1", "segment routing"),
    ("fd00:ec2::254", "private"),
    ("fc00::1", "private"),
    ("fe80::1", "link-local"),
    ("fec0::1", "site-local"),
    ("feff::1", "site-local"),
    ("ff02::1", "multicast"),
]


@each("address, use", SPECIAL)
def test_an_address_of_special_use_is_refused_and_the_log_alone_says_which(
    address: str, use: str
) -> None:
    with structlog.testing.capture_logs() as lines, pytest.raises(TargetRefused) as refused:
        Guard(resolve=answering(address)).addresses("evil.example", 443, 1)
    assert str(refused.value) == REFUSED
    (line,) = lines
    assert (line["event"], line["host"]) == ("target.refused", "evil.example")
    assert line["address"] == address
    assert use in line["use"]
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(TargetRefused, match="not on the public internet"):
        Guard().check(f"https://{host}/hook")


@given(st.ip_addresses())
def test_what_python_calls_special_is_in_the_list(address: Address) -> None:
    if not address.is_global or address.is_multicast:
        assert special_use(address)


@each(
    "neighbour",
    [
        "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0",
        "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0",
        "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
        "2001:200::1", "2001:db7::1", "2003::1", "2620:4f:8001::1", "3fff:1000::1", "2000::1",
    ],
)  # fmt: skip
def test_the_neighbours_of_special_ranges_are_public(neighbour: str) -> None:
    assert Guard(resolve=answering(neighbour)).addresses("good.example", 443, 1) == [neighbour]


@pytest.mark.parametrize("address", [PUBLIC, "2606:2800:21f:cb07::1", "64:ff9b::5db8:d70e"])
def test_a_public_address_is_spoken_to(address: str) -> None:
    guard = Guard(resolve=answering(address))
    assert guard.addresses("good.example", 443, 1) == [address]
    assert guard.check("https://good.example").host == "good.example"


def test_one_inner_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(TargetRefused) as refused:
        Guard(resolve=answering(PUBLIC, "10.0.0.1")).addresses("mixed.example", 443, 1)
    assert "10.0" not in str(refused.value)


def test_an_operator_allows_a_network_and_nothing_beside_it() -> None:
    guard = Guard((ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    assert guard.addresses("10.1.2.3", 80, 1) == ["10.1.2.3"]
    assert guard.addresses("fd00::1", 80, 1) == ["fd00::1"]
    with pytest.raises(TargetRefused, match="TASKDB_OUTBOUND_PRIVATE"):
        guard.addresses("10.2.0.1", 80, 1)
    with pytest.raises(TargetRefused):
        guard.addresses("::ffff:10.1.2.3", 80, 1)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "localhost", "127.1"])
def test_other_spellings_of_this_machine_are_refused(host: str) -> None:
    with pytest.raises(TargetRefused, match="not on the public internet"):
        Guard().addresses(host, 80, 10)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "ftp://host/file",
        "file:///etc/passwd",
        "gopher://host/",
        "host/path",
        "https://host/a b",
        "https://host/a\r\nx: y",
        "https://user:secret@host/",
        "https://user@host/",
        "https://host:0x50/",
        "https://host:70000/",
        "https://host\\@10.0.0.1/",
        "https://host/ü",
        "https://[::1/",
        "https://" + "a" * 64 + ".example/",
        "https://a..b/",
        "https://[2606:4700::1111%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://%6c%6fcalhost/",
        "https://host\u00a0/",
        "https://host\uff3cinner/",
        "https://host/" + "a" * 3_000,
    ],
)
def test_what_is_not_a_plain_url_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused) as refused:
        Target.parse(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("host", ["straße.example", "σοφός.example", "a\u200db.example"])
def test_a_host_that_a_browser_spells_otherwise_is_refused(host: str) -> None:
    with pytest.raises(TargetRefused, match="write it as xn--"):
        Target.parse(f"https://{host}/")
    assert Target.parse("https://xn--strae-oqa.example/").host == "xn--strae-oqa.example"


def test_a_url_is_taken_apart() -> None:
    target = Target.parse("https://Bücher.example:8443/a/b?c=d#e")
    assert target == Target("https", "xn--bcher-kva.example", 8443, "/a/b?c=d")
    assert target.authority == "xn--bcher-kva.example:8443"
    assert Target.parse("http://host").authority == "host"
    assert Target.parse("https://[2606:2800::1]/").authority == "[2606:2800::1]"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://good.example/", "OUTBOUND_HTTP"),
        ("http://good.example:443/", "OUTBOUND_HTTP"),
        ("https://good.example:80/", "OUTBOUND_PORTS"),
        ("https://good.example:8443/", "OUTBOUND_PORTS"),
        ("https://good.example:6379/", "OUTBOUND_PORTS"),
        ("https://good.example:0/", "OUTBOUND_PORTS"),
    ],
)
def test_only_https_on_port_443_is_allowed_by_default(url: str, reason: str) -> None:
    with pytest.raises(TargetRefused, match=reason):
        Guard(resolve=answering(PUBLIC)).check(url)


def test_an_operator_allows_ports_and_http_and_nothing_beside_them() -> None:
    guard = Guard(ports=(range(443, 444), range(8000, 8010)), resolve=answering(PUBLIC))
    assert guard.check("https://good.example:8009/").port == 8009
    for url in ("https://good.example:8010/", "http://good.example/"):
        with pytest.raises(TargetRefused):
            guard.check(url)
    plain = Guard(allows_http=True, resolve=answering(PUBLIC))
    assert plain.check("http://good.example/").port == 80
    for url in ("http://good.example:8000/", "https://good.example:80/"):
        with pytest.raises(TargetRefused, match="OUTBOUND_PORTS"):
            plain.check(url)


def test_a_name_that_says_nothing_is_not_refused_but_cannot_be_sent_to() -> None:
    def fail(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    assert Guard(resolve=fail).check("https://not-yet.example/").port == 443
    with pytest.raises(DeliveryFailed, match="Name or service not known"):
        Guard(resolve=fail).addresses("not-yet.example", 443, 1)
    with pytest.raises(DeliveryFailed, match="cannot be resolved"):
        Guard(resolve=answering()).addresses("empty.example", 443, 1)
