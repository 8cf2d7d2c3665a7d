"""What is secret does not leave: not under a name, not inside a text, not by its looks."""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from taskdb.errors import SettingsError
from taskdb.redaction.redaction import CUT, TEXT_LIMIT, VALUE_LIMIT, Redaction
from taskdb.redaction.sensitive_text import HIDDEN
from taskdb.settings.settings import Settings

RULES = Redaction.parse()
SECRET = "hunter2-Zażółć"
CARD = "4111 1111 1111 1111"


@each(
    "name",
    [
        "password", "Password", "db_password", "oldPasswordHash", "PGPASSWORD", "passwd", "pwd",
        "secret", "client-secret", "clientSecretValue", "token", "access_token", "accessToken",
        "accesstoken", "X-Auth-Token", "csrf_token", "authorization", "Proxy-Authorization",
        "api_key", "apiKey", "API-KEY", "x-api-key", "apikey2", "aws_secret_access_key",
        "private_key", "cookie", "Set-Cookie", "session_id", "credentials", "cvv", "card_number",
        "otp", "pin", "ssn", "\uff50assword", "\u5bc6.password",
    ],
)  # fmt: skip
def test_a_name_hides_what_stands_under_it_however_it_is_spelled(name: str) -> None:
    assert RULES.value({name: SECRET, "user": "ann"}) == {name: HIDDEN, "user": "ann"}
    assert RULES.value([{"in": {name: {"deep": [SECRET]}}}]) == [{"in": {name: HIDDEN}}]


@pytest.mark.parametrize(
    "name",
    ["user", "shipping", "author", "max_tokens", "tokenizer", "classname", "pinned", "keyboard",
     "description", "company", "className", "session", "key", "x" * 300 + "password"],
)  # fmt: skip
def test_other_names_hide_nothing(name: str) -> None:
    assert list(RULES.value({name: "told"}).values()) == ["told"]


def test_what_is_no_secret_under_a_secret_name_is_told() -> None:
    given = {"token": None, "password": "", "secret": False, "cookie": [], "pin": {}, "otp": 0}

    assert RULES.value(given) == {**given, "otp": HIDDEN}


def test_pairs_options_and_named_values_are_hidden_too() -> None:
    assert RULES.value([["Authorization", SECRET], ("accept", "*")]) == [
        ["Authorization", HIDDEN],
        ["accept", "*"],
    ]
    assert RULES.value(["--user", "ann", "--password", SECRET]) == [
        "--user", "ann", "--password", HIDDEN,
    ]  # fmt: skip
    assert RULES.value({"name": "DB_PASSWORD", "value": SECRET}) == {
        "name": "DB_PASSWORD",
        "value": HIDDEN,
    }
    assert RULES.value({"name": "USER", "value": "ann"}) == {"name": "USER", "value": "ann"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("login(password='{}', user='ann')", "login(password='{}', user='ann')"),
        ('{{"password": "{}", "user": "ann"}}', '{{"password": "{}", "user": "ann"}}'),
        (r'"{{\"password\": \"{}\", \"a\": 1}}"', r'"{{\"password\": \"{}\", \"a\": 1}}"'),
        ("password = b'{}'.", "password = b'{}'."),
        ("POST /in?user=ann&token={}&next=/", "POST /in?user=ann&token={}&next=/"),
        ("host=db password={} user=ann", "host=db password={} user=ann"),
        ("run --password {} --user ann", "run --password {} --user ann"),
        ("Key (api_key)=({}) already exists.", "Key (api_key)={} already exists."),
        ("os.environ['API_KEY'] = '{}'", "os.environ['API_KEY'] = '{}'"),
        ("secret: {{'a': ['{}', 1]}} and so on", "secret: {} and so on"),
        ("Cookie: a={}; theme=dark\nHost: x", "Cookie: {}\nHost: x"),
        ('Authorization: Token {} v="1"\nHost: x', "Authorization: {}\nHost: x"),
        ("password='{}", "password='{}"),
        (r"password='it\'s {}' ok", "password='{}' ok"),
        ("postgresql://ann:{}@db/app is away", "postgresql://ann:{}@db/app is away"),
        ("redis://:{}@cache/0", "redis://:{}@cache/0"),
        ("[type=too_short, input_value='{}', input_type=str]",
         "[type=too_short, input_value='{}', input_type=str]"),
    ],
)  # fmt: skip
def test_a_text_does_not_tell_what_stands_behind_a_secret_name(text: str, expected: str) -> None:
    assert RULES.text(text.format(SECRET)) == expected.format(HIDDEN)


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "cb_" + "a1-_" * 11,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIB\nAAAA\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIB and no end",
        CARD,
        "4111-1111-1111-1111",
        "5500005555555559",
        "378282246310005",
    ],
)
def test_a_secret_is_known_by_its_looks(secret: str) -> None:
    said = RULES.text(f"it was {secret}")

    assert said == f"it was {HIDDEN}"
    assert RULES.value({"note": [secret]}) == {"note": [HIDDEN]}


def test_a_card_number_is_found_as_a_number_and_as_a_key() -> None:
    assert RULES.value({"paid": 4111111111111111}) == {"paid": HIDDEN}
    assert RULES.value({CARD: 1, CARD.replace(" ", "-"): 2}) == {HIDDEN: 1, f"{HIDDEN} (1)": 2}


@pytest.mark.parametrize(
    "text",
    ["4111 1111 1111 1112", "1769421600000", "1769421600000000", "order 12345678901234567890",
     "018f2d5e-4111-7111-8111-411111111111", "jwt.InvalidTokenError: Signature has expired",
     'File "auth.py", line 3, in check_token', "TokenExpired: log in again"],
)  # fmt: skip
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert RULES.text(text) == text


def test_a_secret_of_the_input_is_found_where_the_message_says_it_plainly() -> None:
    given = {"user": "ann", "password": SECRET, "auth": {"codes": ["s3cret", 123456, "x"]}}
    known = RULES.secrets_of(given)

    assert set(known) == {SECRET, "s3cret", "123456"}
    assert RULES.text(f"no {SECRET} for ann, tried 123456", known=known) == (
        f"no {HIDDEN} for ann, tried {HIDDEN}"
    )


def test_rules_of_the_settings_come_on_top_of_the_built_in_ones() -> None:
    rules = Settings.load(
        {
            "TASKDB_REDACT_FIELDS": "account_number, *iban*, !page_token",
            "TASKDB_REDACT_PATTERNS": r'["CUST-\\d+", "born (?P<secret>\\S+)"]',
        }
    ).redaction

    assert rules.value(
        {"accountNumber": 7, "myIbanText": "x", "page_token": "p1", "token": "t", "note": "CUST-12"}
    ) == {
        "accountNumber": HIDDEN, "myIbanText": HIDDEN, "page_token": "p1", "token": HIDDEN,
        "note": HIDDEN,
    }  # fmt: skip
    assert rules.text("born 1970-01-01 in Rome") == f"born {HIDDEN} in Rome"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("FIELDS", "password, **", "names no field"),
        ("PATTERNS", '["("]', "is not a regular expression"),
        ("PATTERNS", '["a*"]', "matches the empty text"),
        ("PATTERNS", "a+", "TASKDB_REDACT_PATTERNS"),
    ],
)
def test_a_wrong_rule_is_refused_when_the_settings_are_read(
    name: str, value: str, reason: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(reason)):
        Settings.load({f"TASKDB_REDACT_{name}": value})


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError(SECRET)

    __str__ = __repr__


class RudeMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(SECRET)

    def __iter__(self) -> Any:
        raise RuntimeError(SECRET)

    def __len__(self) -> int:
        raise RuntimeError(SECRET)


def test_nothing_that_it_is_given_makes_it_raise_or_tell_too_much() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = SECRET
    for _ in range(10_000):
        deep = [deep]
    given = [Rude(), b"bytes", object, float("nan"), 10**5_000, circle, deep, {1: {2}, (3,): 4}]

    said = json.dumps(RULES.value(given), allow_nan=False)

    assert SECRET not in said
    assert "<6 bytes>" not in said
    assert "<5 bytes>" in said
    assert CUT in said
    assert RULES.value(RudeMapping()) == CUT
    assert RULES.text(Rude()) == CUT
    assert RULES.secrets_of(RudeMapping()) == ()
    assert RULES.value([datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.50")]) == [
        "2026-01-02 00:00:00+00:00",
        "1.50",
    ]


def test_what_cannot_be_stored_or_sent_becomes_a_replacement() -> None:
    said = RULES.value({"a\x00": "b\ud800c"})

    assert said == {"a\N{REPLACEMENT CHARACTER}": "b\N{REPLACEMENT CHARACTER}c"}
    json.dumps(said, ensure_ascii=False).encode()


def test_size_is_bounded_and_the_wanted_end_of_a_long_text_stays() -> None:
    long = "line\n" * 60_000
    huge = RULES.value({str(number): ["x" * 500] * 50 for number in range(1_000)})

    assert len(json.dumps(huge)) < 3 * VALUE_LIMIT
    head, tail = RULES.text(f"first {long}"), RULES.text(f"{long} last", 200, end=True)
    assert (len(head), len(tail)) == (TEXT_LIMIT, 200)
    assert head.startswith("first")
    assert tail.endswith("last")
    assert "characters left out" in head
    assert "characters left out" in tail
    assert RULES.text("abc" * 10, 3) == CUT[:3]


def test_no_text_makes_it_slow() -> None:
    began = time.process_time()
    for part in ("a", "a.", "password=", "'", "(", "password=(", "--", "4", "4 ", "eyJ", "a://",
                 "\\", "a://a:", "-----BEGIN PRIVATE KEY-----", "password='\\'"):  # fmt: skip
        RULES.text(part * (60_000 // len(part)))

    # A text of this size takes some hundredths of a second; what is quadratic would take minutes.
    assert time.process_time() - began < 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(value=JSON, name=st.sampled_from(["password", "X-Token", "apiKey", "Set-Cookie"]))
def test_whatever_surrounds_it_a_secret_stays_inside(value: Any, name: str) -> None:
    given = {"a": value, name: SECRET, "b": [{name: [SECRET, value]}]}

    said = json.dumps(RULES.value(given), ensure_ascii=False, allow_nan=False)
    said.encode()
    assert SECRET not in said
    for text in (repr(given), json.dumps(given), json.dumps(json.dumps(given))):
        assert "hunter2" not in RULES.text(text, 10**6)


@given(st.text() | st.text(alphabet="a:='\"\\[]{}() password-", max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    RULES.text(text).encode()
