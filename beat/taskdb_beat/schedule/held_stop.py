"""A delay of the signals that stop a beat, while it must not be interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def held_stop() -> Iterator[None]:
    """Deliver the first SIGTERM or SIGINT at the end of the block, and a second one at once.

    Has no effect outside the main thread, where Python delivers no signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {sign: signal.getsignal(sign) for sign in _STOPS}

    def hold(number: int, frame: FrameType | None) -> None:
        handler = handlers[signal.Signals(number)]
        if came and callable(handler):
            handler(number, frame)
        came.append(number)

    # None: a handler that was not set by Python could not be put back.
    held = [sign for sign, handler in handlers.items() if handler is not None]
    for sign in held:
        signal.signal(sign, hold)
    try:
        yield
    finally:
        for sign in held:
            signal.signal(sign, handlers[sign])
        for number in came[:1]:
            signal.raise_signal(number)
