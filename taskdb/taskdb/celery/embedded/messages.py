"""The queues of the embedded broker: each SQL statement of it, with its meaning.

Time is ``time.monotonic()``: one clock for all processes of a machine, which no correction of the
wall clock moves. After a reboot it starts again, so a lease taken "in the future" is one of an
earlier boot and counts as over.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from taskdb.celery.embedded.file import MessageFile

#: How far ahead of this process's reading another one's may be, before it means another boot.
CLOCK_SLACK_SECONDS = 1.0

#: Free pages are handed back to the file system above this many, so many at a time.
FREE_PAGES_KEPT = 2_000
FREE_PAGES_RETURNED = 1_000

#: Over: its time has passed, or it was taken by the clock of another boot.
_OVER = "leased_at IS NOT NULL AND (leased_at + lease_seconds <= :now OR leased_at > :ahead)"

INSERT_MESSAGE = "INSERT INTO message (queue, priority) VALUES (?, ?)"
INSERT_CONTENT = "INSERT INTO content (id, envelope, body) VALUES (?, ?, ?)"

#: The next message of a queue: highest priority first, in order of arrival inside one.
FIND_READY = """
SELECT id FROM message WHERE queue = ? AND leased_at IS NULL ORDER BY priority DESC, id LIMIT 1
"""
LEASE = f"""
UPDATE message SET lease = ?, leased_at = ?, lease_seconds = ?, deliveries = deliveries + 1
 WHERE id = ({FIND_READY}) RETURNING id, deliveries
"""
READ_CONTENT = "SELECT envelope, body FROM content WHERE id = ?"

#: The four guarded statements: only who holds the lease, or held it last, changes the row.
RENEW = "UPDATE message SET leased_at = ?, lease_seconds = ? WHERE id = ? AND lease = ?"
ACK = "DELETE FROM message WHERE id = ? AND lease = ?"
RELEASE = "UPDATE message SET leased_at = NULL, lease = NULL WHERE id = ? AND lease = ?"
RELEASE_OVER = f"UPDATE message SET leased_at = NULL WHERE {_OVER}"

FIND_OVER = f"SELECT 1 FROM message WHERE {_OVER} LIMIT 1"
COUNT_READY = (
    f"SELECT count(*) FROM message WHERE queue = :queue AND (leased_at IS NULL OR {_OVER})"
)
PURGE = f"DELETE FROM message WHERE queue = :queue AND (leased_at IS NULL OR {_OVER})"


class NewMessage(NamedTuple):
    """A message on its way into a queue; the envelope is JSON, priority 9 goes first."""

    queue: str
    priority: int
    envelope: str
    body: str | bytes


class Lease(NamedTuple):
    """One delivery of one message; the token is random, so no two deliveries share it."""

    message_id: int
    token: str


class Delivery(NamedTuple):
    """A message under a lease of this process; redelivered: it had been leased before."""

    lease: Lease
    envelope: str
    body: str | bytes
    redelivered: bool


class Messages:
    """The queues in one message file. Every method raises MessageFileError."""

    def __init__(self, file: MessageFile, lease_seconds: float = 10.0) -> None:
        self.file = file
        self.lease_seconds = lease_seconds
        self._empty: dict[str, tuple[int, int, int]] = {}
        self._look_for_over_at = 0.0

    def publish(self, messages: Iterable[NewMessage]) -> None:
        """Store the messages in order, all or none; they are safe when this returns."""
        with self.file.transaction() as connection:
            for message in messages:
                row = connection.execute(INSERT_MESSAGE, (message.queue, message.priority))
                connection.execute(INSERT_CONTENT, (row.lastrowid, message.envelope, message.body))

    def lease(self, queue: str) -> Delivery | None:
        """Lease the next message of a queue to this process; None when there is none.

        An idle call costs two reads of shared memory: nothing changed, so it is still empty.
        """
        with self.file.reading() as connection:
            self._release_over(connection)
            state = self.file.state(connection)
            if self._empty.get(queue) == state:
                return None
            # Reads first, since the update would take the write lock only to find nothing.
            if connection.execute(FIND_READY, (queue,)).fetchone() is None:
                self._empty[queue] = state
                return None
            return self._take(connection, queue)

    def renew(self, leases: Sequence[Lease]) -> list[Lease]:
        """Begin the leases anew and return those that another consumer has taken over."""
        with self.file.transaction() as connection:
            now = time.monotonic()
            return [
                lease
                for lease in leases
                if not connection.execute(RENEW, (now, self.lease_seconds, *lease)).rowcount
            ]

    def ack(self, leases: Iterable[Lease]) -> int:
        """Remove the messages whose lease nobody has taken over; returns how many."""
        return self._settle(ACK, leases)

    def release(self, leases: Iterable[Lease]) -> int:
        """Put messages back, in their old place, at once; returns how many were still ours."""
        return self._settle(RELEASE, leases)

    def count_ready(self, queue: str) -> int:
        """Count what a consumer could get now; what is leased is not counted, as in RabbitMQ."""
        with self.file.reading() as connection:
            (count,) = connection.execute(COUNT_READY, _times(queue=queue)).fetchone()
        return int(count)

    def purge(self, queue: str) -> int:
        """Remove what is ready and return how many; leased messages stay with their consumers."""
        with self.file.transaction() as connection:
            return connection.execute(PURGE, _times(queue=queue)).rowcount

    def declare_queue(self, queue: str) -> None:
        with self.file.reading() as connection:
            connection.execute("INSERT OR IGNORE INTO queue VALUES (?)", (queue,))

    def has_queue(self, queue: str) -> bool:
        with self.file.reading() as connection:
            found = connection.execute("SELECT 1 FROM queue WHERE name = ?", (queue,)).fetchone()
        return found is not None

    def delete_queue(self, queue: str) -> None:
        """Remove the queue with its bindings and all of its messages, leased ones too."""
        with self.file.transaction() as connection:
            connection.execute("DELETE FROM queue WHERE name = ?", (queue,))
            connection.execute("DELETE FROM binding WHERE queue = ?", (queue,))
            connection.execute("DELETE FROM message WHERE queue = ?", (queue,))

    def bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Keep a binding, so that a process which only publishes routes as the others do."""
        with self.file.reading() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO binding VALUES (?, ?, ?, ?)",
                (exchange, routing_key, queue, pattern),
            )

    def unbind(self, exchange: str, routing_key: str, queue: str) -> None:
        with self.file.reading() as connection:
            connection.execute(
                "DELETE FROM binding WHERE exchange = ? AND routing_key = ? AND queue = ?",
                (exchange, routing_key, queue),
            )

    def bindings(self, exchange: str) -> list[tuple[str, str, str]]:
        """Return (routing key, pattern, queue) of each binding of an exchange."""
        with self.file.reading() as connection:
            return connection.execute(
                "SELECT routing_key, pattern, queue FROM binding WHERE exchange = ?", (exchange,)
            ).fetchall()

    def return_free_pages(self) -> None:
        """Hand part of what acknowledged messages left behind back to the file system."""
        with self.file.reading() as connection:
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if free > FREE_PAGES_KEPT:
                # As a script, which is run to its end: one step would return a single page.
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
        """Make messages of dead consumers ready again; looks ten times in a lease."""
        now = time.monotonic()
        if now < self._look_for_over_at:
            return
        if connection.execute(FIND_OVER, _times()).fetchone() is not None:
            connection.execute(RELEASE_OVER, _times())
        self._look_for_over_at = now + self.lease_seconds / 10

    def _settle(self, statement: str, leases: Iterable[Lease]) -> int:
        with self.file.transaction() as connection:
            return sum(connection.execute(statement, lease).rowcount for lease in leases)


def _times(**values: str) -> dict[str, str | float]:
    now = time.monotonic()
    return {"now": now, "ahead": now + CLOCK_SLACK_SECONDS, **values}
