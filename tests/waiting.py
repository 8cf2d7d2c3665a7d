"""Waiting for a condition, so that no test ever sleeps and hopes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.05


def wait_until(
    condition: Callable[[], T],
    timeout: float = 10.0,
    describe: str | Callable[[], str] = "",
) -> T:
    """Call ``condition`` until what it returns is true, and return that.

    After ``timeout`` seconds raises AssertionError with ``describe`` and the last value seen.
    ``describe`` may be a function, asked only then. An error in ``condition`` is not caught.
    """
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE_SECONDS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_message(condition, timeout, describe, value))
        time.sleep(pause)
        pause = min(pause * 1.2, _LONGEST_PAUSE_SECONDS)


def _message(
    condition: Callable[[], object], seconds: float, describe: str | Callable[[], str], last: object
) -> str:
    words = describe() if callable(describe) else describe
    name = words or getattr(condition, "__qualname__", repr(condition))
    return f"waited {seconds:g} s for: {name}; last value seen: {last!r}"
