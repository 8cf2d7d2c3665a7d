"""Log lines: no text of another's forges one, moves a cursor or carries a secret out."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from taskdb.logging import configure_logging
from taskdb.settings.settings import Settings

URL = "redis://:hunter2%2Fhunter2@cache/0"
EVIL = "\x1b[31mred\r\n2026-01-01T00:00:00Z [info     ] forged\u202e\x9b\u2028\x07"
UNSAFE = "\x1b\r\x9b\u202e\u2028\x07"


class Odd:
    def __repr__(self) -> str:
        return f"Odd({EVIL} password=hunter2)"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(params=["console", "json"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging(
        Settings(
            log_format=request.param,
            broker_url=URL,
            alarm_channels={"ops": "slack://TokenAAAA/TokenBBBB/TokenCCCC"},
            celery={"broker_transport_options": {"sentinel_kwargs": {"password": "hunter22"}}},
        )
    )
    return written


def lines_of(stream: io.StringIO) -> list[str]:
    written = stream.getvalue()
    assert "hunter2" not in written
    assert not set(UNSAFE) & set(written)
    written.encode()
    return written.removesuffix("\n").split("\n")


def test_words_of_others_stay_in_their_line(stream: io.StringIO) -> None:
    log = structlog.get_logger("taskdb.test")
    log.info(EVIL, value=EVIL, nested={EVIL: [EVIL]}, odd=Odd(), bytes=b"\x1b")
    logging.getLogger("kombu").warning("Connection to %s: %s", EVIL, Odd())
    assert len(lines_of(stream)) == 2


def test_a_traceback_cannot_look_like_a_line_of_its_own(stream: io.StringIO) -> None:
    def fail() -> None:
        raise ValueError(f"{EVIL} at {URL}: password=hunter2\n2026-01-01T00:00:00Z [info] forged")

    for log in (structlog.get_logger("taskdb.test"), logging.getLogger("other")):
        try:
            fail()
        except ValueError:
            log.exception("it failed")
    lines = lines_of(stream)
    begun = [line for line in lines if not line.startswith("    ")]
    assert len(begun) == 2
    assert any("ValueError" in line for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        f"cannot reach {URL}",
        "password authentication: password=hunter2 refused",
        "Authorization: Bearer hunter2hunter2",
        "sent hunter2/hunter2 to the server",
        "sentinel said hunter22",
        "postgresql://u@h/d?sslpassword=hunter2",
        "tried TokenAAAA/TokenBBBB/TokenCCCC hunter".removesuffix("hunter"),
    ],
)
def test_a_secret_is_taken_out_wherever_it_stands(stream: io.StringIO, text: str) -> None:
    structlog.get_logger("taskdb.test").warning(text, reason=text, inside=[text])
    logging.getLogger("kombu").error("%s", text)
    assert "TokenBBBB" not in "".join(lines_of(stream))


def test_json_stays_json_and_keeps_what_it_says(stream: io.StringIO) -> None:
    values: dict[str, Any] = {"count": 3, "ratio": 0.5, "none": None, "on": True, "name": "Zoë 語"}
    structlog.get_logger("taskdb.test").info("task.done", **values)
    (line,) = lines_of(stream)
    if line.startswith("{"):
        found = json.loads(line)
        assert {name: found[name] for name in values} == values
        assert (found["event"], found["level"]) == ("task.done", "info")
    else:
        assert "Zoë 語" in line
