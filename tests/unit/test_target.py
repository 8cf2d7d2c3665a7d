"""Which targets are spoken to: what people name must not reach the inside."""

from collections.abc import Callable
from ipaddress import ip_network

import pytest

from taskdb.errors import DeliveryFailed, TargetRefused
from taskdb.outbound.target import Guard, Target

PUBLIC = "93.184.215.14"


def answering(*addresses: str) -> Callable[[str, int], list[str]]:
    return lambda host, port: list(addresses)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "this machine"),
        ("127.8.8.8", "this machine"),
        ("::1", "this machine"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fd00:ec2::254", "private"),
        ("100.64.0.1", "not public"),
        ("0.0.0.0", "no address"),  # noqa: S104 - refused, not bound
        ("::", "no address"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("240.0.0.1", "private"),
        ("255.255.255.255", "private"),
        ("192.0.2.1", "private"),
        ("198.18.0.1", "private"),
        ("::ffff:127.0.0.1", "disguise"),
        ("::ffff:93.184.215.14", "disguise"),
        ("2002:7f00:1::", "tunnel"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "tunnel"),
        ("64:ff9b::7f00:1", "this machine"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b:1::1", "reserved|private"),
        ("::127.0.0.1", "reserved"),
    ],
)
def test_an_address_of_the_inside_is_refused(address: str, reason: str) -> None:
    with pytest.raises(TargetRefused, match=reason):
        Guard(resolve=answering(address)).addresses("evil.example", 443, 1)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(TargetRefused, match=reason):
        Guard().check(f"https://{host}/hook")


@pytest.mark.parametrize("address", [PUBLIC, "2606:2800:21f:cb07::1", "64:ff9b::5db8:d70e"])
def test_a_public_address_is_spoken_to(address: str) -> None:
    guard = Guard(resolve=answering(address))
    assert guard.addresses("good.example", 443, 1) == [address]
    assert guard.check("https://good.example").host == "good.example"


def test_one_inner_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(TargetRefused, match=r"10\.0\.0\.1"):
        Guard(resolve=answering(PUBLIC, "10.0.0.1")).addresses("mixed.example", 443, 1)


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
    with pytest.raises(TargetRefused, match="this machine"):
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
        "https://host/" + "a" * 3_000,
    ],
)
def test_what_is_not_a_plain_url_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused) as refused:
        Target.parse(url)
    assert "secret" not in str(refused.value)


def test_a_url_is_taken_apart() -> None:
    target = Target.parse("https://Bücher.example:8443/a/b?c=d#e")
    assert target == Target("https", "xn--bcher-kva.example", 8443, "/a/b?c=d")
    assert target.authority == "xn--bcher-kva.example:8443"
    assert Target.parse("http://host").authority == "host"
    assert Target.parse("https://[2606:2800::1]/").authority == "[2606:2800::1]"


def test_a_name_that_says_nothing_is_not_refused_but_cannot_be_sent_to() -> None:
    def fail(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    assert Guard(resolve=fail).check("https://not-yet.example/").port == 443
    with pytest.raises(DeliveryFailed, match="Name or service not known"):
        Guard(resolve=fail).addresses("not-yet.example", 443, 1)
    with pytest.raises(DeliveryFailed, match="cannot be resolved"):
        Guard(resolve=answering()).addresses("empty.example", 443, 1)
