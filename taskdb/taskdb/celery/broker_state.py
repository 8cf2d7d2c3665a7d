"""Asks a broker for its state, within a bounded time."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from taskdb.celery.configuration import create_celery
from taskdb.settings.settings import Settings

BROKER_SECONDS = 3.0
"""A broker that has not replied by then counts as unavailable."""


@dataclass(frozen=True, slots=True)
class BrokerState:
    """The state of a broker: `away` is why it is unavailable, `messages` the length of a queue."""

    away: str | None = None
    messages: int | None = None


def broker_state(settings: Settings, queue: str, seconds: float = BROKER_SECONDS) -> BrokerState:
    """Return the broker's state and the messages in the queue (None: the broker gives no count)."""
    done: Future[BrokerState] = Future()

    def ask() -> None:
        try:
            done.set_result(_ask(settings, queue))
        except BaseException as error:  # noqa: BLE001 - every transport has errors of its own
            done.set_result(BrokerState(away=f"{type(error).__name__}: {error}"))

    # A frozen broker would block this call without end.
    threading.Thread(target=ask, name="taskdb-ask-broker", daemon=True).start()
    try:
        return done.result(timeout=seconds)
    except FutureTimeout:
        return BrokerState(away=f"no answer within {seconds:g} s")


def _ask(settings: Settings, queue: str) -> BrokerState:
    app = create_celery(settings)
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            return BrokerState(messages=_messages(connection, queue))
    finally:
        app.close()


def _messages(connection: Any, queue: str) -> int | None:
    # Each transport has its own error for a missing queue.
    with suppress(connection.channel_errors):
        answer = connection.default_channel.queue_declare(queue, passive=True)
        return int(answer.message_count)
    return None
