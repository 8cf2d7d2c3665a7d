"""The masker of URLs: whatever stands in a password, no part of it is left."""

import json

from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from taskdb.redaction.url_mask import MASK, mask_url, mask_urls, secrets_of_url

MARKER = "Mar4ker"


@each(
    "url, shown",
    [
        ("postgresql://app:hunter2@db:5432/tasks", "postgresql://app:***@db:5432/tasks"),
        ("postgresql://app@db/tasks", "postgresql://app@db/tasks"),
        ("postgresql://db:5432/tasks", "postgresql://db:5432/tasks"),
        ("postgresql://h1:5432,h2:5433/tasks", "postgresql://h1:5432,h2:5433/tasks"),
        ("postgresql:///tasks?host=/run/pg&password=x", "postgresql:///tasks?host=/run/pg&password=***"),
        ("postgresql://db/t?sslpassword=x&sslkey=/k.pem", "postgresql://db/t?sslpassword=***&sslkey=/k.pem"),
        ("postgresql://db/t?PassWord=x", "postgresql://db/t?PassWord=***"),
        ("postgresql://db/t?pass%77ord=x", "postgresql://db/t?pass%77ord=***"),
        ("redis://:pa/ss@cache:6379/0", "redis://:***@cache:6379/0"),
        ("redis://:pa?ss@cache/0", "redis://:***@cache/0"),
        ("redis://:pa#ss@cache/0", "redis://:***@cache/0"),
        ("redis://:/pass@cache/0", "redis://:***@cache/0"),
        ("redis://token@cache/0", "redis://***@cache/0"),
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://:hunter2", "redis://:***"),
        ("amqp://guest:hunter2", "amqp://guest:***"),
        ("amqp://u:p@ss:w@rd@mq//", "amqp://u:***@mq//"),
        ("sentinel://:a@h1:1;sentinel://:b@h2:2", "sentinel://:***@h1:1;sentinel://:***@h2:2"),
        ("sqlite:////srv/a@b/tasks.sqlite3", "sqlite:////srv/a@b/tasks.sqlite3"),
        ("taskdb-sqlite:////srv/a@b/m.sqlite3", "taskdb-sqlite:////srv/a@b/m.sqlite3"),
        ("https://x.com/in?sig=a&page=2", "https://x.com/in?sig=***&page=2"),
        ("https://x.com/in?mail=a@b.com", "https://x.com/in?mail=a@b.com"),
        ("https://x.com/in#access_token=a", "https://x.com/in#access_token=***"),
        ("https://key@sentry.io/7", "https://***@sentry.io/7"),
        ("https://x.com/?to=http%3A%2F%2Fu%3Ahunter2%40h", "https://x.com/?to=http://u:***@h"),
        ("https://hooks.slack.com/services/T0/B0/x", "https://hooks.slack.com/services/***"),
        ("https://discord.com/api/webhooks/1/x?wait=1", "https://discord.com/api/webhooks/***?wait=1"),
        ("https://api.telegram.org/bot1:x/send", "https://api.telegram.org/bot***"),
        ("slack://a/b/c", "slack://***"),
        ("mailto://me:hunter2@example.com", "mailto://***"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("no url", "no url"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert mask_urls(f"see {url} (why)" if url else "") == (f"see {shown} (why)" if url else "")


@given(
    password=st.text(
        st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=0, max_size=12
    ),
    scheme=st.sampled_from(["redis", "rediss", "sentinel", "amqp", "postgresql+psycopg", "https"]),
    tail=st.sampled_from(["", "/0", ":6379/0", "/0?x=y", "//"]),
)
def test_no_sign_of_a_password_lets_a_part_of_it_out(password: str, scheme: str, tail: str) -> None:
    url = f"{scheme}://user:{MARKER}{password}{MARKER}@host{tail}"
    assert mask_url(url) == f"{scheme}://user:{MASK}@host{tail}"


@each("sign", [*"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"])
def test_a_password_with_a_sign_is_masked_in_a_running_text(sign: str) -> None:
    url = f"redis://:{MARKER}{sign}{MARKER}@host/0"
    for text in (
        f"cannot reach {url}: refused",
        f"cannot reach {url!r}, or 'redis://host'",
        f"urls={[url, url]!r}",
        json.dumps({"url": url, "and": 1}),
    ):
        assert MARKER not in mask_urls(text), mask_urls(text)


def test_what_stands_beside_a_url_stays() -> None:
    text = '{"a": "redis://:x@h/0", "mail": "me@example.com"} \'https://u:p@h\', 7'
    assert mask_urls(text) == (
        '{"a": "redis://:***@h/0", "mail": "me@example.com"} \'https://u:***@h\', 7'
    )


def test_secrets_are_found_as_written_and_decoded() -> None:
    url = "redis://:pa%2Fss@h/0?sslpassword=x;sentinel://:o@h"
    assert set(secrets_of_url(url)) == {"pa%2Fss", "pa/ss", "x", "o"}
    assert set(secrets_of_url("postgresql://app@h/d")) == set()
