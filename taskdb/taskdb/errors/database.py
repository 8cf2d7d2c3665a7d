"""Errors about the database as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskdb.errors.taskdb_error import TaskDBError


class DatabaseError(TaskDBError):
    """The base of the errors about the database as a whole."""

    page = "how-to/go-to-production.md"


class DatabaseUnreachable(DatabaseError):
    """The database did not respond. The write was not made, unless the message notes it."""


class DatabaseRefused(DatabaseError):
    """The database refuses for now: it is read-only, full or too slow, or a right is missing.

    The write was not made.
    """


class DatabaseCollision(DatabaseError):
    """Another transaction conflicts. Nothing was written: repeat the whole transaction.

    `orig` is the driver's error where the transaction is the caller's, `sqlstate` its code.
    """

    page = "how-to/submit-in-a-transaction.md"

    def __init__(self, message: str, orig: BaseException | None = None) -> None:
        self.orig = orig
        self.sqlstate: str | None = getattr(orig, "sqlstate", None)
        super().__init__(message)

    def __reduce__(self) -> Any:
        return (type(self), self.args)


class DatabaseNotMigrated(DatabaseError):
    """The tables are missing, or older than this code needs."""

    page = "how-to/upgrade-and-roll-back.md"


class DatabaseUnsuitable(DatabaseError):
    """The database cannot store what this package writes, for example without UTF-8."""


class TableNameTaken(DatabaseError):
    """A table that `taskdb migrate` did not create has the name of one of ours.

    `names` are the names that are taken, `schema` is where. Nothing was written.
    """

    def __init__(self, names: Sequence[str], schema: str) -> None:
        self.names = tuple(names)
        self.schema = schema
        listed = ", ".join(f"`{name}`" for name in self.names)
        super().__init__(
            f"the schema `{schema}` already has {listed}, and `taskdb migrate` did not create it."
            " Rename or drop what has this name, or give TaskDB a database of its own"
            " (TASKDB_DATABASE_URL). Nothing was written"
        )

    def __reduce__(self) -> Any:
        return (type(self), (self.names, self.schema))


class DatabaseTooNew(DatabaseError):
    """A newer release has migrated the tables beyond what this release can use."""

    page = "how-to/upgrade-and-roll-back.md"


class GrantsRefused(TaskDBError):
    """A role does not exist, is not bound by grants, or may not grant. Nothing was granted."""

    page = "how-to/database-roles.md"
