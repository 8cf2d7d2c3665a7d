"""The ASGI middleware: a submit inside of a request knows its id and the client's address."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from taskdb.client.taskdb import TaskDB
from taskdb.contrib.asgi import OriginMiddleware
from taskdb.model.principal.origin import submitter_texts
from taskdb.settings.settings import Settings

FORGED = [(b"X-Forwarded-For", b"203.0.113.9"), (b"x-forwarded-for", b"198.51.100.7, 10.0.0.2")]


def said(headers: list[tuple[bytes, bytes]], client: Any, taskdb: TaskDB | None) -> dict[str, str]:
    found: dict[str, str] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.update(submitter_texts())

    async def nothing(*_: Any) -> Any:
        return {}

    scope = {"type": "http", "headers": headers, "client": client}
    asyncio.run(OriginMiddleware(app, taskdb=taskdb)(scope, nothing, nothing))
    return found


@pytest.mark.parametrize(
    ("given", "taken"),
    [(b"r-1", "r-1"), (b"x" * 201, None), (b"a\x1b[31m", None), (b"\xff" * 101, None), (b"", None)],
)
def test_an_id_is_checked(given: bytes, taken: str | None) -> None:
    found = said([(b"x-request-id", given)], ("192.0.2.1", 4711), None)
    assert (found.get("request_id"), found["created_ip"]) == (taken, "192.0.2.1")


def test_a_forwarded_address_counts_only_from_a_trusted_proxy(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, trusted_proxies="10.0.0.0/8")
    with TaskDB(settings) as taskdb:
        assert said(FORGED, ("10.0.0.1", 1), taskdb)["created_ip"] == "198.51.100.7"
        assert said(FORGED, ("192.0.2.1", 1), taskdb)["created_ip"] == "192.0.2.1"
        assert said([], ("10.0.0.1", 1), taskdb)["created_ip"] == "10.0.0.1"
        assert said(FORGED, None, taskdb).get("created_ip") is None


def test_nothing_is_trusted_unless_a_setting_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TaskDB(Settings(data_dir=tmp_path)) as taskdb:
        assert said(FORGED, ("127.0.0.1", 1), taskdb)["created_ip"] == "127.0.0.1"
