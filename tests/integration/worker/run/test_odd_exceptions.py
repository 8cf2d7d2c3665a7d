"""Exceptions whose own methods, class or text raise: the run ends as with any other."""

from pathlib import Path
from typing import Any

import pytest
from tests.integration.worker.run.test_outcome_faults import made, raises

from taskdb.model.retry import Retry


class _Odd(str):
    __slots__ = ()

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        raise ValueError

    def replace(self, *_: object) -> str:  # type: ignore[override]
        raise ValueError


class _OddText(ValueError):
    def __str__(self) -> str:
        return _Odd("its own")


class _OddClass(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in {"__module__", "__name__", "__qualname__"}:
            raise ValueError
        return super().__getattribute__(name)


class _Nameless(ValueError, metaclass=_OddClass):
    pass


class _OfNoModule(ValueError):
    __module__ = "a\x00b"


class _Classless(ValueError):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError


class _Silent:
    def __str__(self) -> str:
        raise ValueError


class _SilentMemory(MemoryError):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("raised", "crashes"),
    [
        (_OddText(), 0),
        (_Nameless("its own"), 0),
        (_OfNoModule("its own"), 0),
        (_Classless("its own"), 0),
        (SystemExit(_Silent()), 1),
        (KeyboardInterrupt(_Silent()), 1),
        (_SilentMemory(), 1),
    ],
    ids=["text", "metaclass", "module", "class", "exit", "interrupt", "memory"],
)
def test_an_exception_that_cannot_be_read_is_an_end_as_any_other(
    sqlite_url: str, tmp_path: Path, raised: BaseException, crashes: int
) -> None:
    policy = Retry(max_attempts=3, retry_on=(ValueError,))
    with made(sqlite_url, tmp_path) as site:
        site.run("a", raises(raised), retry=policy)
        assert (site.row()["status"], site.row()["crashes"]) == ("ERRORED", crashes)
