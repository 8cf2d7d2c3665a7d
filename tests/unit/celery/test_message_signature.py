"""Signatures of messages: which are of our keys, and of this very message."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import SecretStr

from taskdb.celery import message_signature
from taskdb.celery.message_signature import (
    SIGNATURE_HEADER,
    MessageKeys,
    SignatureRefused,
    Subject,
)
from taskdb.errors import SettingsError
from taskdb.settings.settings import Settings

OLD, NEW = "o" * 32, "n" * 32
SUBJECT = Subject("01936e4b-7c00-7000-8000-0123456789ab", "public.greet")


def keys(*values: str, age_seconds: float = 60) -> MessageKeys:
    return MessageKeys(values, age_seconds)


def signed(made: MessageKeys, subject: Subject = SUBJECT, attempt: int = 0) -> str:
    return made.sign(subject, attempt)[SIGNATURE_HEADER]


def test_a_signature_says_the_attempt_that_was_signed() -> None:
    assert keys(OLD).attempt_of(signed(keys(OLD), attempt=3), SUBJECT) == 3


def test_without_keys_nothing_is_signed() -> None:
    assert keys().sign(SUBJECT, 0) == {}
    assert not keys()


def test_the_first_key_signs_and_each_verifies() -> None:
    both = keys(NEW, OLD)
    assert both.attempt_of(signed(keys(OLD)), SUBJECT) == 0
    assert keys(NEW).attempt_of(signed(both), SUBJECT) == 0
    with pytest.raises(SignatureRefused, match="another key"):
        keys(OLD).attempt_of(signed(both), SUBJECT)


@pytest.mark.parametrize(
    "subject",
    [
        SUBJECT._replace(id="01936e4b-7c00-7000-8000-0123456789ac"),
        SUBJECT._replace(type="admin.exec"),
        SUBJECT._replace(items=1),
        Subject(f"{SUBJECT.id}\n0", SUBJECT.type),
        Subject("\udcff", "\ud800"),
    ],
)
def test_a_signature_is_of_one_message(subject: Subject) -> None:
    with pytest.raises(SignatureRefused, match="another"):
        keys(OLD).attempt_of(signed(keys(OLD)), subject)


@pytest.mark.parametrize("part", [1, 2, 3])
def test_no_part_of_a_signature_can_be_changed(part: int) -> None:
    parts = signed(keys(OLD)).split(" ")
    parts[part] = parts[part][:-1] + ("0" if parts[part][-1] != "0" else "1")
    with pytest.raises(SignatureRefused):
        keys(OLD).attempt_of(" ".join(parts), SUBJECT)


def test_a_signature_is_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = signed(keys(OLD))
    now = message_signature.time.time()
    for moved in (-61, 61):
        monkeypatch.setattr(message_signature.time, "time", lambda moved=moved: now + moved)
        with pytest.raises(SignatureRefused, match="too old"):
            keys(OLD).attempt_of(made, SUBJECT)


@given(
    some.one_of(
        some.text(), some.none(), some.integers(), some.lists(some.text()), some.binary(),
        some.from_regex(r"v1 \d+ \d+ [0-9a-f]+"),
    )
)  # fmt: skip
def test_what_is_no_signature_is_refused(given_signature: object) -> None:
    with pytest.raises(SignatureRefused):
        keys(OLD).attempt_of(given_signature, SUBJECT)


def test_keys_are_read_as_secrets() -> None:
    settings = Settings.load({"TASKDB_MESSAGE_KEYS": f"{NEW}, {OLD}"})
    assert settings.message_keys == (SecretStr(NEW), SecretStr(OLD))
    assert NEW not in f"{settings!r}{settings}"
    assert MessageKeys.of(settings).attempt_of(signed(keys(OLD)), SUBJECT) == 0


@pytest.mark.parametrize("value", ["short", f"{NEW},short", f"{NEW},", "x" * 31])
def test_a_short_key_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(SettingsError, match="less than 32 characters") as caught:
        Settings.load({"TASKDB_MESSAGE_KEYS": value})
    assert NEW not in str(caught.value) and "short" not in str(caught.value)
