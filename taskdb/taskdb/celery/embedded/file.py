"""The file with the embedded broker's messages, as one process uses it.

One SQLite connection serves all threads of a transport, one at a time behind a lock. SQLite has a
single writer anyway, and a lock hands over at once, while SQLite's busy handler would sleep.

A fork is dangerous. SQLite keeps its file locks in a table of the process. A child that inherits an
open handle believes that it has locks which it does not have, even for a connection that it opens
itself. So every file is closed before a fork, between two transactions, and the next use opens it
again, in parent or child. If a fork bypasses Python's hooks (a C program that embeds Python), the
child neither uses nor closes the inherited handle, but SQLite's table of locks is a copy of its
parent's: such a program should open the broker after its forks.

A limit of SQLite: a process that is stopped (SIGSTOP) inside a transaction keeps the file
locked until it continues or dies. Transactions here take well under a millisecond.

Durability: WAL with ``synchronous=NORMAL``. A commit that returned survives the death of any
process. A power cut or a kernel crash may lose the last commits, without damage to the file. This
is enough for a broker whose messages can be published again from the database of record; FULL
would cost one fsync for each message.
"""

from __future__ import annotations

import ctypes
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kombu.exceptions import OperationalError

from taskdb.celery.embedded.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION, fits
from taskdb.fork import pause_at_fork
from taskdb.private_path import make_file, make_folder

WAL_BYTES_KEPT = 16 * 1024 * 1024


class MessageFileError(OperationalError):
    """The message file cannot be used; the message has the file and the problem."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"message file {path}: {problem}")
        self.path = path


class MessageFileBusy(MessageFileError):
    """Another process held the message file's lock for longer than the busy timeout."""


class MessageFile:
    """One message file, created at first use. Safe to share between threads, safe to fork."""

    def __init__(self, path: Path, busy_timeout_seconds: float = 30.0) -> None:
        self.path = path
        self.busy_timeout_seconds = busy_timeout_seconds
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._opened_times = 0
        pause_at_fork(self)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside a write transaction: all of the block, or nothing of it."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection to this thread alone; each statement is its own transaction.

        Raises MessageFileBusy if another process holds the lock, else MessageFileError.
        """
        self._leave_parent()
        with self._lock:
            connection = self._current()
            try:
                yield connection
            except BaseException as error:
                # Catches also errors from a signal handler: nothing stays half written.
                self._roll_back(connection)
                if isinstance(error, sqlite3.Error):
                    raise self._translated(error) from error
                raise

    def state(self, connection: sqlite3.Connection) -> tuple[int, int, int]:
        """Return a value that changes whenever this or another process changes the file."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        return self._opened_times, version, connection.total_changes

    def check(self) -> None:
        """Open the file, and create it if it is missing; raises MessageFileError."""
        with self.reading():
            pass

    def close(self) -> None:
        """Close this process's connection. The next use opens it again."""
        self._leave_parent()
        with self._lock:
            self._close()

    def _current(self) -> sqlite3.Connection:
        # If the file was deleted, the old handle would accept messages that no other process sees.
        if self._connection is not None and self._inode != self._inode_now():
            self._close()
        if self._connection is None:
            self._connection = self._open()
            self._inode = self._inode_now()
            self._opened_times += 1
        return self._connection

    def _inode_now(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _open(self) -> sqlite3.Connection:
        self._check_path()
        make_file(self.path)
        connection = None
        try:
            connection = sqlite3.connect(
                self.path,
                timeout=self.busy_timeout_seconds,
                isolation_level=None,
                check_same_thread=False,
            )
            self._prepare(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._translated(error) from error
            raise
        return connection

    def _check_path(self) -> None:
        """Raise a clear error where SQLite's is only "unable to open database file"."""
        try:
            make_folder(self.path.parent)
        except OSError as error:
            raise MessageFileError(self.path, f"its folder cannot be created: {error}") from error
        if self.path.is_dir():
            raise MessageFileError(self.path, "is a folder; name a file in the broker URL")
        written = [self.path.parent, self.path] if self.path.exists() else [self.path.parent]
        for path in written:
            if not os.access(path, os.W_OK):
                raise MessageFileError(self.path, f"{path} is read-only for this user")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if not self._is_ours(connection):
            # It works only in an empty file, before the first write.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}").fetchall()
        if not self._is_ours(connection):
            self._create(connection)

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Return True for a message file, False for an empty one; raises for anything else."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application == 0 and tables == 0:
            return False
        if application != APPLICATION_ID:
            raise MessageFileError(self.path, "is a database of something else")
        if not fits(version):
            problem = f"has schema {version}, and this release cannot use it (its own is"
            raise MessageFileError(self.path, f"{problem} {SCHEMA_VERSION})")
        return True

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to WAL; processes that start together wait here for each other.

        SQLite does not call its busy handler for this switch, so this loop retries.
        """
        deadline = time.monotonic() + self.busy_timeout_seconds
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.005, 0.03))  # noqa: S311 - it spreads, it hides nothing
        if mode != "wal":
            raise MessageFileError(self.path, "lies on a file system that cannot do SQLite WAL")

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have created the schema while this one waited for the lock.
        if not self._is_ours(connection):
            for statement in SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")

    def _translated(self, error: sqlite3.Error) -> MessageFileError:
        if _is_busy(error):
            waited = f"locked for {self.busy_timeout_seconds:g} s by another process"
            return MessageFileBusy(self.path, waited)
        # Perhaps only this handle has failed: the next use opens a new one.
        self._close()
        return MessageFileError(self.path, str(error))

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.rollback()
        except sqlite3.Error:
            # Closing also rolls back.
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _leave_parent(self) -> None:
        """Forget the parent's state in a child whose fork bypassed the hooks."""
        if self._pid != os.getpid():
            self.after_fork()

    def before_fork(self) -> None:
        """Wait for the transaction on this file to end, then close it."""
        self._lock.acquire()
        self._close()

    def after_fork_in_parent(self) -> None:
        """Allow the next use to open the file again."""
        self._lock.release()

    def after_fork(self) -> None:
        """Replace, in the child, the inherited lock and a handle that was still open."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        connection, self._connection = self._connection, None
        if connection is not None:
            _never_close(connection)


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _never_close(connection: sqlite3.Connection) -> None:
    """Prevent that an inherited handle is closed, even at the end of the interpreter."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
