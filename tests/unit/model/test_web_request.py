"""What a web request says of itself: its id, and the address that proxies pass on."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb.errors import SettingsError
from taskdb.model.principal.web_request import TrustedProxies, request_id_of
from taskdb.settings.settings import Settings

OURS = ("10.0.0.0/8", "fd00::/8", "192.0.2.7")


def client_of(peer: str | None, *lines: str, header: str = "X-Forwarded-For") -> str | None:
    return TrustedProxies.parse(OURS, header).client_of(peer, lines)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("r-1", "r-1"),
        (" r-1 ", "r-1"),
        ("x" * 200, "x" * 200),
        ("x" * 201, None),
        ("語" * 67, None),
        ("", None),
        (None, None),
        ("a\nb", None),
        ("a\x1b[31m", None),
        ("a\u202eb", None),
        ("a\ud800", None),
    ],
)
def test_an_id_is_printable_and_short_or_none(given: str | None, taken: str | None) -> None:
    assert request_id_of(given) == taken


def test_without_a_setting_no_proxy_is_trusted() -> None:
    nobody = Settings().proxies
    assert nobody.client_of("127.0.0.1", ["203.0.113.9"]) == "127.0.0.1"
    assert nobody.client_of(None, ["203.0.113.9"]) is None


@pytest.mark.parametrize(
    ("peer", "line", "client"),
    [
        # A stranger's word does not count.
        ("203.0.113.1", "198.51.100.1", "203.0.113.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        # What stands left of the first stranger may be forged.
        ("10.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "10.9.9.9, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("fd00::1%eth0", "2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("192.0.2.7", "198.51.100.1", "198.51.100.1"),
        ("192.0.2.8", "198.51.100.1", "192.0.2.8"),
        # Nonsense ends the way.
        ("10.0.0.1", "1.2.3.4, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, <script>, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1,", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1]x", "10.0.0.1"),
        ("10.0.0.1", "010.0.0.9", "10.0.0.1"),
        ("10.0.0.1:80", "198.51.100.1", "198.51.100.1"),
        ("", "198.51.100.1", None),
        ("nonsense", "198.51.100.1", None),
    ],
)
def test_an_address_counts_as_far_as_our_proxies_wrote_it(
    peer: str, line: str, client: str | None
) -> None:
    assert client_of(peer, line) == client


def test_several_lines_of_the_header_are_one_list() -> None:
    assert client_of("10.0.0.1", "1.2.3.4", "198.51.100.1, 10.0.0.2") == "198.51.100.1"


@pytest.mark.parametrize(
    ("line", "client"),
    [
        ("for=198.51.100.1", "198.51.100.1"),
        ('for=1.2.3.4, proto=https;For="[2001:db8::1]:4711";by=10.0.0.1', "2001:db8::1"),
        ("for=198.51.100.1, for=10.0.0.2", "198.51.100.1"),
        ('for=198.51.100.1;host="a,for=1.2.3.4"', "198.51.100.1"),
        ("for=_hidden", "10.0.0.1"),
        ("for=unknown, for=10.0.0.2", "10.0.0.2"),
        ("by=198.51.100.1", "10.0.0.1"),
        # What a proxy quotes is not its word on the address: a client chooses its own Host.
        ('host="a;for=1.2.3.4";for=198.51.100.1', "198.51.100.1"),
        ("for=198.51.100.1;for=1.2.3.4", "10.0.0.1"),
        # A quote that the client has left open does not take in what the proxy appends.
        ('for=1.2.3.4;x=", for="[2001:db8::1]:4711";proto=https', "10.0.0.1"),
        (r'for=1.2.3.4;x="\", for="[2001:db8::1]:4711"', "10.0.0.1"),
    ],
)
def test_the_standard_header_is_read_where_the_setting_names_it(line: str, client: str) -> None:
    assert client_of("10.0.0.1", line, header="Forwarded") == client


def test_a_header_full_of_open_quotes_is_read_in_linear_time() -> None:
    started = time.process_time()
    assert client_of("10.0.0.1", '"' + '\\"' * 30_000, header="Forwarded") == "10.0.0.1"
    assert time.process_time() - started < 1


def test_a_peer_without_an_address_is_trusted_by_name_only() -> None:
    assert TrustedProxies.parse(["unix"]).client_of("", ["1.2.3.4, 198.51.100.1"]) == "198.51.100.1"
    assert TrustedProxies.parse(["unix"]).client_of("10.0.0.1", ["198.51.100.1"]) == "10.0.0.1"


@given(st.one_of(st.none(), st.text()), st.lists(st.text()), st.sampled_from(["unix", "0.0.0.0/0"]))
def test_whatever_is_sent_the_answer_is_an_address_or_none(
    peer: str | None, lines: list[str], trusted: str
) -> None:
    for header in ("X-Forwarded-For", "Forwarded"):
        found = TrustedProxies.parse([trusted], header).client_of(peer, lines)
        assert found is None or found == client_of(found)


def test_proxies_are_networks() -> None:
    environment = {"TASKDB_TRUSTED_PROXIES": "10.0.0.0/8, fd00::/8, unix"}
    assert Settings.load(environment).proxies.trusts_unix
    for wrong in ("all", "10.0.0.1/8", "*"):
        with pytest.raises(SettingsError, match=r"TASKDB_TRUSTED_PROXIES.*10\.1\.0\.0/16"):
            Settings.load({"TASKDB_TRUSTED_PROXIES": wrong})
