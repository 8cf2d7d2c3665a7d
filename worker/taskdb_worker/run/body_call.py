"""The call of a body in one process. A copy that the body forks ends here and writes nothing.

`os.fork` gives the copy the whole stack of the worker. If it returned from the body, it would write
the outcome of a run that is still running in the process that claimed it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

T = TypeVar("T")


def call_in_this_process(call: Callable[[], T]) -> T:
    """Call, and return only in the process that called. A forked copy ends here."""
    pid = os.getpid()
    try:
        value = call()
    except BaseException as error:
        if os.getpid() != pid:
            _end_copy(error)
        raise
    if os.getpid() != pid:
        _end_copy(None)
    return value


def run_coroutine(coroutine: Awaitable[T]) -> T:
    """Run a body that is a coroutine. A copy that it forks does not close the shared event loop."""
    return asyncio.run(_awaited(coroutine, os.getpid()))


async def _awaited(coroutine: Awaitable[T], pid: int) -> T:
    try:
        value = await coroutine
    except BaseException as error:
        if os.getpid() != pid:
            _end_copy(error)
        raise
    if os.getpid() != pid:
        _end_copy(None)
    return value


def _end_copy(error: BaseException | None) -> NoReturn:
    """End a forked copy with the exit code that a program would have.

    Raises no SystemExit: the stack above is the worker's, with its `finally` blocks and its
    connections.
    """
    code = 0
    try:
        if isinstance(error, SystemExit):
            code = _code_of(error)
        elif error is not None:
            code = 1
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            # A stream that is closed or full must not keep the copy alive.
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
    finally:
        os._exit(code)


def _code_of(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
    return 1
