"""The queues of the embedded broker: each SQL statement, with its meaning.

Time is ``time.monotonic()``: one clock for all processes of a machine, which is not affected by
corrections of the wall clock. It starts again after a reboot, so a lease from "the future" is of an
earlier boot and counts as expired.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from taskdb.celery.embedded.file import MessageFile
from taskdb.celery.embedded.listener import (
    BIND,
    CLOCK_SLACK_SECONDS,
    Binding,
    Listeners,
    bound_queue,
    empty_queue,
    remove_unheard,
)

#: Above this many free pages, so many at a time are returned to the file system.
FREE_PAGES_KEPT = 2_000
FREE_PAGES_RETURNED = 1_000

#: Expired: its time has passed, or it was taken by the clock of another boot.
_OVER = "leased_at IS NOT NULL AND (leased_at + lease_seconds <= :now OR leased_at > :ahead)"

INSERT_MESSAGE = "INSERT INTO message (queue, priority) VALUES (?, ?)"
INSERT_SHORT_LIVED = "INSERT INTO message (queue, priority, stale_at) VALUES (?, ?, ?)"
INSERT_CONTENT = "INSERT INTO content (id, envelope, body) VALUES (?, ?, ?)"

#: The next message of a queue: highest priority first, then in order of arrival.
FIND_READY = """
SELECT id FROM message WHERE queue = ? AND leased_at IS NULL ORDER BY priority DESC, id LIMIT 1
"""
LEASE = f"""
UPDATE message SET lease = ?, leased_at = ?, lease_seconds = ?, deliveries = deliveries + 1
 WHERE id = ({FIND_READY}) RETURNING id, deliveries
"""
READ_CONTENT = "SELECT envelope, body FROM content WHERE id = ?"

#: The guarded statements: only the current or the last holder of the lease changes the row.
RENEW = "UPDATE message SET leased_at = ?, lease_seconds = ? WHERE id = ? AND lease = ?"
ACK = "DELETE FROM message WHERE id = ? AND lease = ?"
RELEASE = "UPDATE message SET leased_at = NULL, lease = NULL WHERE id = ? AND lease = ?"
RELEASE_OVER = f"UPDATE message SET leased_at = NULL WHERE {_OVER}"

FIND_OVER = f"SELECT 1 FROM message WHERE {_OVER} LIMIT 1"
COUNT_READY = (
    f"SELECT count(*) FROM message WHERE queue = :queue AND (leased_at IS NULL OR {_OVER})"
)
FIND_BINDINGS = """
SELECT binding.routing_key, binding.pattern, binding.queue, queue.message_seconds
  FROM binding LEFT JOIN queue ON queue.name = binding.queue
 WHERE binding.exchange = ?
"""
PURGE = f"DELETE FROM message WHERE queue = :queue AND (leased_at IS NULL OR {_OVER})"


class NewMessage(NamedTuple):
    """A message to be stored in a queue; the envelope is JSON, priority 9 goes first.

    `seconds` is how long it may wait in a short-lived queue.
    """

    queue: str
    priority: int
    envelope: str
    body: str | bytes
    seconds: float | None = None


class Lease(NamedTuple):
    """One delivery of one message; the token is random and unique to this delivery."""

    message_id: int
    token: str


class Delivery(NamedTuple):
    """A message that this process has leased; `redelivered`: it was leased before."""

    lease: Lease
    envelope: str
    body: str | bytes
    redelivered: bool


class Messages:
    """The queues in one message file. Every method raises MessageFileError."""

    def __init__(self, file: MessageFile, lease_seconds: float = 10.0) -> None:
        self.file = file
        self.listeners = Listeners(file)
        self.lease_seconds = lease_seconds
        self._empty: dict[str, tuple[int, int, int]] = {}
        self._look_for_over_at = 0.0

    def publish(self, messages: Iterable[NewMessage]) -> None:
        """Store the messages in order, all or none; they are committed when this returns."""
        with self.file.transaction() as connection:
            for message in messages:
                if message.seconds is None:
                    row = connection.execute(INSERT_MESSAGE, (message.queue, message.priority))
                else:
                    row = _insert_short_lived(connection, message, message.seconds)
                connection.execute(INSERT_CONTENT, (row.lastrowid, message.envelope, message.body))

    def lease(self, queue: str) -> Delivery | None:
        """Lease the next message of a queue to this process; None if there is none.

        An idle call costs two reads of shared memory: an unchanged file means a queue still empty.
        """
        with self.file.reading() as connection:
            self._release_over(connection)
            state = self.file.state(connection)
            if self._empty.get(queue) == state:
                return None
            # Read first: the update would take the write lock even if there is no message.
            if connection.execute(FIND_READY, (queue,)).fetchone() is None:
                self._empty[queue] = state
                return None
            return self._take(connection, queue)

    def renew(self, leases: Sequence[Lease]) -> list[Lease]:
        """Renew the leases and return those that another consumer has taken over."""
        with self.file.transaction() as connection:
            now = time.monotonic()
            return [
                lease
                for lease in leases
                if not connection.execute(RENEW, (now, self.lease_seconds, *lease)).rowcount
            ]

    def ack(self, leases: Iterable[Lease]) -> int:
        """Remove the messages whose leases this process still holds; returns their number."""
        return self._settle(ACK, leases)

    def release(self, leases: Iterable[Lease]) -> int:
        """Return messages to their old places at once; returns how many were still held."""
        return self._settle(RELEASE, leases)

    def count_ready(self, queue: str) -> int:
        """Count the messages that are ready now; leased ones do not count, as in RabbitMQ."""
        with self.file.reading() as connection:
            (count,) = connection.execute(COUNT_READY, _times(queue=queue)).fetchone()
        return int(count)

    def purge(self, queue: str) -> int:
        """Remove the ready messages and return their number; leased messages stay."""
        with self.file.transaction() as connection:
            return connection.execute(PURGE, _times(queue=queue)).rowcount

    def declare_queue(self, queue: str) -> None:
        with self.file.reading() as connection:
            connection.execute("INSERT OR IGNORE INTO queue (name) VALUES (?)", (queue,))

    def has_queue(self, queue: str) -> bool:
        with self.file.reading() as connection:
            found = connection.execute("SELECT 1 FROM queue WHERE name = ?", (queue,)).fetchone()
        return found is not None

    def delete_queue(self, queue: str) -> None:
        """Remove the queue with its bindings and all its messages, including leased ones."""
        with self.file.transaction() as connection:
            connection.execute("DELETE FROM queue WHERE name = ?", (queue,))
            empty_queue(connection, queue)
        self.listeners.forget(queue)

    def bind(self, binding: Binding) -> None:
        """Store a binding, so that a process that only publishes routes as the others do."""
        with self.file.reading() as connection:
            connection.execute(BIND, binding)
        self.listeners.bound(binding)

    def unbind(self, exchange: str, routing_key: str, queue: str) -> None:
        with self.file.reading() as connection:
            connection.execute(
                "DELETE FROM binding WHERE exchange = ? AND routing_key = ? AND queue = ?",
                (exchange, routing_key, queue),
            )

    def bindings(self, exchange: str) -> list[tuple[str, str, str, float | None]]:
        """Return (routing key, pattern, queue, seconds) of each binding of an exchange.

        `seconds` is how long a short-lived queue keeps a message; None for any other queue.
        """
        with self.file.reading() as connection:
            return connection.execute(FIND_BINDINGS, (exchange,)).fetchall()

    def return_free_pages(self) -> None:
        """Return some of the space of removed messages to the file system."""
        with self.file.reading() as connection:
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if free > FREE_PAGES_KEPT:
                # `executescript` runs all steps; a single step would return one page.
                connection.executescript(f"PRAGMA incremental_vacuum({FREE_PAGES_RETURNED})")

    def _take(self, connection: sqlite3.Connection, queue: str) -> Delivery | None:
        token = uuid.uuid4().hex
        values = (token, time.monotonic(), self.lease_seconds, queue)
        row = connection.execute(LEASE, values).fetchall()
        if not row:
            return None
        message_id, deliveries = row[0]
        content = connection.execute(READ_CONTENT, (message_id,)).fetchone()
        if content is None:
            return None  # the queue was deleted in between
        envelope, body = content
        return Delivery(Lease(message_id, token), envelope, body, redelivered=deliveries > 1)

    def _release_over(self, connection: sqlite3.Connection) -> None:
        """Clean up after dead consumers and listeners; checks ten times per lease period."""
        now = time.monotonic()
        if now < self._look_for_over_at:
            return
        if connection.execute(FIND_OVER, _times()).fetchone() is not None:
            connection.execute(RELEASE_OVER, _times())
        remove_unheard(connection)
        self._look_for_over_at = now + self.lease_seconds / 10

    def _settle(self, statement: str, leases: Iterable[Lease]) -> int:
        with self.file.transaction() as connection:
            return sum(connection.execute(statement, lease).rowcount for lease in leases)


def _insert_short_lived(
    connection: sqlite3.Connection, message: NewMessage, seconds: float
) -> sqlite3.Cursor:
    values = (message.queue, message.priority, time.monotonic() + seconds)
    row = connection.execute(INSERT_SHORT_LIVED, values)
    bound_queue(connection, message.queue)
    return row


def _times(**values: str) -> dict[str, str | float]:
    now = time.monotonic()
    return {"now": now, "ahead": now + CLOCK_SLACK_SECONDS, **values}
