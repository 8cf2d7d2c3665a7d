"""Signatures of webhooks, by the public convention."""

from datetime import timedelta

import pytest

from taskdb.errors import SignatureInvalid
from taskdb.outbound.contract import Message
from taskdb.outbound.signing import new_secret, sign, signed_headers, verify_webhook

BODY = '{"name": "Ünal"}'.encode()
NOW = 1_700_000_000


def test_a_signature_is_that_of_the_convention() -> None:
    """The example that the convention's own documentation gives."""
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_was_signed_is_taken_and_its_id_told() -> None:
    secret = new_secret()
    headers = signed_headers([secret], "event-1", NOW, BODY)
    shouted = {name.upper(): value for name, value in headers.items()}
    assert verify_webhook(secret, headers, BODY, now=NOW) == "event-1"
    assert verify_webhook(secret, shouted, BODY, now=NOW + 299) == "event-1"


def test_while_a_secret_is_exchanged_either_fits() -> None:
    old, new = new_secret(), new_secret()
    headers = signed_headers([new, old], "event-1", NOW, BODY)
    assert headers["webhook-signature"].count("v1,") == 2
    assert verify_webhook(old, headers, BODY, now=NOW) == "event-1"
    assert verify_webhook(new, headers, BODY, now=NOW) == "event-1"


@pytest.mark.parametrize(
    ("change", "body", "now"),
    [
        ({}, BODY + b" ", NOW),
        ({"webhook-id": "event-2"}, BODY, NOW),
        ({"webhook-timestamp": str(NOW + 1)}, BODY, NOW),
        ({"webhook-timestamp": "yesterday"}, BODY, NOW),
        ({"webhook-timestamp": ""}, BODY, NOW),
        ({"webhook-timestamp": "٣"}, BODY, NOW),
        ({"webhook-id": ""}, BODY, NOW),
        ({"webhook-signature": ""}, BODY, NOW),
        ({"webhook-signature": "v1,"}, BODY, NOW),
        ({"webhook-signature": "v1,ü"}, BODY, NOW),
        ({}, BODY, NOW + 301),
        ({}, BODY, NOW - 301),
    ],
)
def test_what_was_changed_or_is_old_is_refused(
    change: dict[str, str], body: bytes, now: float
) -> None:
    secret = new_secret()
    headers = {**signed_headers([secret], "event-1", NOW, BODY), **change}
    with pytest.raises(SignatureInvalid):
        verify_webhook(secret, headers, body, now=now)


def test_a_stranger_has_another_secret() -> None:
    headers = signed_headers([new_secret()], "event-1", NOW, BODY)
    with pytest.raises(SignatureInvalid, match="check the secret"):
        verify_webhook(new_secret(), headers, BODY, now=NOW)


def test_a_receiver_chooses_how_old_is_too_old() -> None:
    secret = new_secret()
    headers = signed_headers([secret], "event-1", NOW, BODY)
    with pytest.raises(SignatureInvalid, match="too old"):
        verify_webhook(secret, headers, BODY, now=NOW + 2, tolerance=timedelta(seconds=1))


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
