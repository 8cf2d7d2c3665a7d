"""Short-lived queues of the embedded broker: those of remote control, of events and of replies.

A queue that is declared with ``auto_delete`` or ``exclusive`` belongs to its listener, which renews
``seen_at``. A queue that no listener has renewed for ``LISTENER_SECONDS`` is deleted with its
bindings and messages. Such a queue keeps its newest ``MESSAGES_KEPT`` messages, each for at most
the message TTL of its declaration. So a listener that never reads, or was killed, cannot fill the
file.
"""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from taskdb.celery.embedded.file import MessageFile

LISTENER_SECONDS = 30.0
MESSAGES_KEPT = 1_000
MESSAGE_SECONDS = 3_600.0
"""How long a message waits in a short-lived queue that was declared without a message TTL."""

CLOCK_SLACK_SECONDS = 1.0
"""The most that another process's clock reading may be ahead; beyond it is another boot."""

BIND = "INSERT OR IGNORE INTO binding VALUES (?, ?, ?, ?)"

#: The first declaration holds: a queue that lives on is never made short-lived.
DECLARE = """
INSERT INTO queue (name, seen_at, message_seconds) VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at WHERE seen_at IS NOT NULL
"""
FIND_UNHEARD = "SELECT name, seen_at FROM queue WHERE seen_at <= :gone OR seen_at > :ahead"
REMOVE_UNHEARD = "DELETE FROM queue WHERE name = ? AND seen_at = ?"

FIND_STALE = "SELECT 1 FROM message WHERE stale_at <= :now LIMIT 1"
REMOVE_STALE = "DELETE FROM message WHERE stale_at <= :now"
#: The stale messages of a queue, and those with ``MESSAGES_KEPT`` newer ones.
BOUND = f"""
DELETE FROM message WHERE queue = :queue AND stale_at <= max(:now, ifnull((
    SELECT stale_at FROM message WHERE queue = :queue AND stale_at IS NOT NULL
     ORDER BY stale_at DESC LIMIT 1 OFFSET {MESSAGES_KEPT}), 0))
"""


class Binding(NamedTuple):
    """A queue that gets the messages of an exchange; `pattern` is that of a topic exchange."""

    exchange: str
    routing_key: str
    queue: str
    pattern: str


@dataclass(slots=True)
class _Declared:
    message_seconds: float
    bindings: set[Binding] = field(default_factory=set)
    is_heard: bool = False


class Listeners:
    """The short-lived queues that this process has declared; a forked child has none.

    Every method that writes raises MessageFileError.
    """

    def __init__(self, file: MessageFile) -> None:
        self._file = file
        self._pid = os.getpid()
        self._declared: dict[str, _Declared] = {}
        self._renew_at = 0.0

    def __contains__(self, queue: str) -> bool:
        return self._pid == os.getpid() and queue in self._declared

    def declare(self, queue: str, message_seconds: float | None) -> None:
        """Create the queue, or renew it."""
        if self._pid != os.getpid():
            self._pid, self._declared = os.getpid(), {}
        seconds = MESSAGE_SECONDS if message_seconds is None else message_seconds
        declared = self._declared.setdefault(queue, _Declared(seconds))
        with self._file.transaction() as connection:
            _announce(connection, queue, declared)

    def bound(self, binding: Binding) -> None:
        """Remember a binding, to restore it should another process have deleted the queue."""
        if binding.queue in self:
            self._declared[binding.queue].bindings.add(binding)

    def heard(self, queue: str) -> None:
        """Renew this queue from now on: this process consumes it."""
        self._declared[queue].is_heard = True

    def forget(self, queue: str) -> None:
        self._declared.pop(queue, None)

    def renew(self) -> None:
        """Renew the queues that this process consumes, three times per `LISTENER_SECONDS`."""
        heard = [(queue, one) for queue, one in list(self._declared.items()) if one.is_heard]
        if not heard or self._pid != os.getpid() or time.monotonic() < self._renew_at:
            return
        with self._file.transaction() as connection:
            for queue, declared in heard:
                _announce(connection, queue, declared)
        self._renew_at = time.monotonic() + LISTENER_SECONDS / 3


def bound_queue(connection: sqlite3.Connection, queue: str) -> None:
    """Remove the messages of a short-lived queue that are too old, or too many."""
    connection.execute(BOUND, {"queue": queue, "now": time.monotonic()})


def empty_queue(connection: sqlite3.Connection, queue: str) -> None:
    """Remove the bindings and messages of a queue, including leased ones."""
    connection.execute("DELETE FROM binding WHERE queue = ?", (queue,))
    connection.execute("DELETE FROM message WHERE queue = ?", (queue,))


def remove_unheard(connection: sqlite3.Connection) -> None:
    """Remove stale messages, and the queues of listeners that have died."""
    now = time.monotonic()
    if connection.execute(FIND_STALE, {"now": now}).fetchone() is not None:
        connection.execute(REMOVE_STALE, {"now": now})
    times = {"gone": now - LISTENER_SECONDS, "ahead": now + CLOCK_SLACK_SECONDS}
    unheard = connection.execute(FIND_UNHEARD, times).fetchall()
    if not unheard:
        return
    connection.execute("BEGIN IMMEDIATE")
    for queue, seen_at in unheard:
        # Unless it was renewed in between.
        if connection.execute(REMOVE_UNHEARD, (queue, seen_at)).rowcount:
            empty_queue(connection, queue)
    connection.execute("COMMIT")


def _announce(connection: sqlite3.Connection, queue: str, declared: _Declared) -> None:
    connection.execute(DECLARE, (queue, time.monotonic(), declared.message_seconds))
    connection.executemany(BIND, declared.bindings)
