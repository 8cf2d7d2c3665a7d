"""Signatures of webhooks, by the convention of Standard Webhooks."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb.model.message import Message
from taskdb.outgoing.signing import may_be_id, new_secret, sign, signed_headers, verify_webhook

BODY = '{"name": "Ünal"}'.encode()
NOW = 1_700_000_000
SECRET = "whsec_" + base64.b64encode(bytes(24)).decode()


def test_a_signature_is_that_of_the_convention() -> None:
    """The example that the convention's own documentation gives."""
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_was_signed_is_genuine() -> None:
    secret = new_secret()
    headers = signed_headers([secret], "event-1", NOW, BODY)
    shouted = {name.upper(): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert verify_webhook(secret, headers, BODY, now=NOW) is True
    assert verify_webhook(secret, shouted, BODY, now=NOW + 299) is True
    assert verify_webhook(secret, raw, bytearray(BODY), now=NOW - 299) is True  # type: ignore[arg-type]
    assert verify_webhook(secret, headers, BODY.decode(), now=NOW) is True


def test_while_the_sender_exchanges_a_secret_either_fits() -> None:
    old, new = new_secret(), new_secret()
    headers = signed_headers([new, old], "event-1", NOW, BODY)
    assert headers["webhook-signature"].count("v1,") == 2
    assert verify_webhook(old, headers, BODY, now=NOW)
    assert verify_webhook(new, headers, BODY, now=NOW)


def test_while_the_receiver_exchanges_a_secret_either_fits() -> None:
    old, new = new_secret(), new_secret()
    headers = signed_headers([old], "event-1", NOW, BODY)
    assert verify_webhook([new, old], headers, BODY, now=NOW)
    assert not verify_webhook([new], headers, BODY, now=NOW)
    assert not verify_webhook([], headers, BODY, now=NOW)


def test_signatures_of_other_versions_are_passed_over() -> None:
    secret = new_secret()
    headers = signed_headers([secret], "event-1", NOW, BODY)
    signature = headers["webhook-signature"]
    others = {**headers, "webhook-signature": f"v1a,AAAA {signature} v2,{signature[3:]}"}
    assert verify_webhook(secret, others, BODY, now=NOW)
    for wrong in (f"v2,{signature[3:]}", signature[3:], signature.upper(), f"v1a,{signature[3:]}"):
        changed = {**headers, "webhook-signature": wrong}
        assert not verify_webhook(secret, changed, BODY, now=NOW)


@pytest.mark.parametrize(
    ("change", "body", "now"),
    [
        ({}, BODY + b" ", NOW),
        ({"webhook-id": "event-2"}, BODY, NOW),
        ({"webhook-timestamp": str(NOW + 1)}, BODY, NOW),
        ({"webhook-timestamp": "yesterday"}, BODY, NOW),
        ({"webhook-timestamp": ""}, BODY, NOW),
        ({"webhook-timestamp": "٣"}, BODY, NOW),
        ({"webhook-timestamp": f" {NOW}"}, BODY, NOW),
        ({"webhook-timestamp": f"{NOW}.0"}, BODY, NOW),
        ({"webhook-timestamp": "9" * 5_000}, BODY, NOW),
        ({"webhook-timestamp": "9" * 18}, BODY, NOW),
        ({"webhook-timestamp": "-1"}, BODY, NOW),
        ({"webhook-timestamp": "\ud800"}, BODY, NOW),
        ({"webhook-timestamp": NOW}, BODY, NOW),
        ({"webhook-id": ""}, BODY, NOW),
        ({"webhook-id": "\ud800"}, BODY, NOW),
        ({"webhook-id": "\x00"}, BODY, NOW),
        ({"webhook-id": "x" * 100_000}, BODY, NOW),
        ({"webhook-id": None}, BODY, NOW),
        ({"webhook-signature": ""}, BODY, NOW),
        ({"webhook-signature": "v1,"}, BODY, NOW),
        ({"webhook-signature": "v1,ü"}, BODY, NOW),
        ({"webhook-signature": "\ud800"}, BODY, NOW),
        ({"webhook-signature": "v1,AAAA " * 100_000}, BODY, NOW),
        ({"webhook-signature": ["v1,"]}, BODY, NOW),
        ({}, "\ud800", NOW),
        ({}, None, NOW),
        ({}, 5, NOW),
        ({}, BODY, NOW + 301),
        ({}, BODY, NOW - 301),
    ],
    ids=range(29),
)
def test_what_was_changed_is_old_or_is_garbage_is_not_genuine_and_raises_nothing(
    change: dict[str, Any], body: Any, now: float
) -> None:
    secret = new_secret()
    headers = {**signed_headers([secret], "event-1", NOW, BODY), **change}
    assert verify_webhook(secret, headers, body, now=now) is False


_GARBAGE = st.one_of(
    st.none(), st.integers(), st.binary(), st.text(st.characters(codec=None, exclude_categories=()))
)


@given(st.dictionaries(_GARBAGE, _GARBAGE), *[_GARBAGE] * 4)
def test_no_headers_and_no_body_raise_anything(
    others: dict[Any, Any], message_id: Any, timestamp: Any, signature: Any, body: Any
) -> None:
    named = {
        "webhook-id": message_id,
        "Webhook-Timestamp": timestamp,
        b"webhook-signature": signature,
    }
    assert verify_webhook(SECRET, {**others, **named}, body) is False
    assert verify_webhook(SECRET, message_id, body) is False


def test_the_parts_of_what_was_signed_cannot_be_shifted() -> None:
    """A dot in an id would let another id, time and body have the same signature."""
    secret = new_secret()
    signature = sign(secret, "event", NOW, b"5.{}")
    shifted = {
        "webhook-id": f"event.{NOW}",
        "webhook-timestamp": "5",
        "webhook-signature": signature,
    }
    assert verify_webhook(secret, shifted, b"{}", now=5) is False
    assert not may_be_id("event.1")


def test_another_secret_does_not_fit() -> None:
    headers = signed_headers([new_secret()], "event-1", NOW, BODY)
    assert verify_webhook(new_secret(), headers, BODY, now=NOW) is False


def test_a_receiver_chooses_how_old_is_too_old() -> None:
    secret = new_secret()
    headers = signed_headers([secret], "event-1", NOW, BODY)
    second = timedelta(seconds=1)
    assert verify_webhook(secret, headers, BODY, now=NOW + 1, tolerance=second)
    assert not verify_webhook(secret, headers, BODY, now=NOW + 2, tolerance=second)
    assert not verify_webhook(secret, headers, BODY, now=NOW - 2, tolerance=second)


@pytest.mark.parametrize("secret", ["", "whsec_", "hunter2", "whsec_aGk=", "whsec_" + "A" * 200])
def test_a_weak_or_broken_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="openssl rand") as refused:
        sign(secret, "event-1", NOW, BODY)
    assert "hunter2" not in str(refused.value)


def test_secrets_are_never_the_same() -> None:
    assert len({new_secret() for _ in range(100)}) == 100


def test_a_body_is_utf8_whatever_the_text_is() -> None:
    assert Message("1", {"a": "ü🎉"}).body == '{"a":"ü🎉"}'.encode()
    assert Message("1", {"a": "\ud83d"}).body == b'{"a":"\\ud83d"}'
