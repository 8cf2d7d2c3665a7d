"""The tables of the embedded broker's message file.

A message is two rows: the changing part (``message``, small, rewritten by every lease and renewal)
and the fixed part (``content``, as large as the body). ``leased_at`` is NULL while the message is
ready. ``lease`` stays after a lease has expired, so that its owner can still acknowledge or renew
it until another consumer takes the message.

A queue with ``seen_at`` is short-lived, and so is each message with ``stale_at`` (``listener.py``).

The file stores its schema number and how many older schemas' code can use it. A release with an
older schema uses a newer file if its own schema is among these.
"""

from __future__ import annotations

APPLICATION_ID = 0x74_64_62_6D
SCHEMA_VERSION = 2
OLDER_CODE = 0
"""The code of this many earlier schemas can use the file."""
_PER_OLDER = 1_000
USER_VERSION = OLDER_CODE * _PER_OLDER + SCHEMA_VERSION

SCHEMA = (
    """CREATE TABLE message (
        id INTEGER PRIMARY KEY,
        queue TEXT NOT NULL,
        priority INTEGER NOT NULL,
        deliveries INTEGER NOT NULL DEFAULT 0,
        lease TEXT,
        leased_at REAL,
        lease_seconds REAL,
        stale_at REAL)""",
    """CREATE INDEX message_ready ON message (queue, priority DESC, id)
        WHERE leased_at IS NULL""",
    """CREATE INDEX message_leased ON message (leased_at, lease_seconds)
        WHERE leased_at IS NOT NULL""",
    """CREATE INDEX message_stale ON message (queue, stale_at)
        WHERE stale_at IS NOT NULL""",
    # Without a type, text stays text and bytes stay bytes.
    "CREATE TABLE content (id INTEGER PRIMARY KEY, envelope TEXT NOT NULL, body)",
    """CREATE TRIGGER message_gone AFTER DELETE ON message
        BEGIN DELETE FROM content WHERE id = OLD.id; END""",
    """CREATE TABLE queue (
        name TEXT PRIMARY KEY, seen_at REAL, message_seconds REAL) WITHOUT ROWID""",
    # Key columns first: SQLite 3.40's integrity check reads the columns of such a table as stored.
    """CREATE TABLE binding (
        exchange TEXT NOT NULL, routing_key TEXT NOT NULL, queue TEXT NOT NULL,
        pattern TEXT NOT NULL,
        PRIMARY KEY (exchange, routing_key, queue)) WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {USER_VERSION}",
)


def fits(user_version: int) -> bool:
    """Return whether this release can use a file of this version."""
    older, version = divmod(user_version, _PER_OLDER)
    return version - older <= SCHEMA_VERSION <= version
