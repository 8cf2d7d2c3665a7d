"""What an error of a driver means: one table for every code of PostgreSQL and of SQLite."""

import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg
from sqlalchemy.exc import DBAPIError
from tests.cases import each

from taskdb.errors import (
    DatabaseCollision,
    DatabaseNotMigrated,
    DatabaseRefused,
    DatabaseUnreachable,
    TaskDBError,
    ValueRefused,
)
from taskdb.store.engine import faults
from taskdb.store.engine.faults import Kind

URL = "postgresql+psycopg://me:secret@host/name"

STATES = {
    Kind.AWAY: [
        "08000",
        "08006",
        "57P01",
        "57P02",
        "57P03",
        "57P05",
        "53300",
        "25P03",
        "25P04",
        "40003",
    ],
    Kind.STALE: ["25006", "26000", "42P05", "08P01", "0A000"],
    Kind.COLLISION: ["40001", "40P01", "72000"],
    Kind.REFUSED: [
        *("55P03", "57014", "53000", "53100", "53200", "53400", "55000", "55006", "58000"),
        *("58030", "58P01", "F0000", "XX000", "XX001", "XX002", "28000", "28P01", "3D000"),
        "42501",
    ],
    Kind.SCHEMA: ["42P01", "42703", "3F000"],
    Kind.VALUE: ["22003", "22008", "22021", "22P02", "22P05", "54000", "54001", "23502"],
    Kind.UNKNOWN: ["23505", "23503", "P0001", "25P02", "42601", "21000", "99999"],
}
MEANING: dict[Kind, type[TaskDBError] | None] = {
    Kind.AWAY: DatabaseUnreachable,
    Kind.STALE: DatabaseRefused,
    Kind.COLLISION: DatabaseCollision,
    Kind.REFUSED: DatabaseRefused,
    Kind.SCHEMA: DatabaseNotMigrated,
    Kind.VALUE: ValueRefused,
    Kind.UNKNOWN: None,
}


def of_server(state: str, **diagnostics: Any) -> psycopg.Error:
    """An error as the server sends it."""

    class FromServer(psycopg.Error):
        sqlstate = state
        diag: Any = SimpleNamespace(source_file="", constraint_name="", **diagnostics)

    return FromServer("it says so")


def through_sqlalchemy(error: Exception) -> DBAPIError:
    return DBAPIError("SELECT 1", {}, error)


@each("kind, state", [(kind, state) for kind, states in STATES.items() for state in states])
def test_every_sqlstate_has_its_kind_with_and_without_sqlalchemy(kind: Kind, state: str) -> None:
    for error in (of_server(state), through_sqlalchemy(of_server(state))):
        assert faults.kind_of(error) is kind
        found = faults.meaning(error, URL)
        assert (found and type(found)) is MEANING[kind]
        assert "secret" not in str(found)


@pytest.mark.parametrize("state", STATES[Kind.STALE] + STATES[Kind.COLLISION] + ["25P03"])
def test_what_another_try_can_mend_is_worth_one(state: str) -> None:
    assert faults.worth_repeating(of_server(state))
    assert faults.worth_repeating(through_sqlalchemy(of_server(state)))


@each("state", STATES[Kind.REFUSED] + STATES[Kind.VALUE] + STATES[Kind.UNKNOWN])
def test_what_the_next_try_meets_again_is_not_repeated_at_once(state: str) -> None:
    assert not faults.worth_repeating(of_server(state))
    assert not faults.spoils_pool(of_server(state))


@pytest.mark.parametrize("state", STATES[Kind.STALE] + STATES[Kind.AWAY])
def test_connections_to_the_wrong_or_a_dead_server_are_thrown_away(state: str) -> None:
    assert faults.spoils_pool(of_server(state))


def test_an_error_of_ours_is_what_the_drivers_error_behind_it_is() -> None:
    cause = of_server("25006")
    ours = faults.meaning(cause, URL)
    assert ours is not None
    ours.__cause__ = cause
    assert faults.kind_of(ours) is Kind.STALE
    assert faults.meaning(ours, URL) is None


def test_a_server_that_may_count_no_further_transactions_does_not_blame_the_value() -> None:
    error = of_server("54000")
    error.diag.source_file = "varsup.c"  # type: ignore[misc]
    assert faults.kind_of(error) is Kind.REFUSED


def test_a_check_blames_the_value_and_a_missing_partition_does_not() -> None:
    check, partition = of_server("23514"), of_server("23514")
    check.diag.constraint_name = "task_status_check"  # type: ignore[misc]
    partition.diag.constraint_name = None  # type: ignore[misc]
    assert faults.kind_of(check) is Kind.VALUE
    assert faults.kind_of(partition) is Kind.REFUSED


def test_another_driver_of_a_caller_is_understood_by_its_own_name_for_the_state() -> None:
    class OfPsycopg2(Exception):
        pgcode = "40001"

    class OfNobody(Exception):
        pass

    assert faults.kind_of(through_sqlalchemy(OfPsycopg2("x"))) is Kind.COLLISION
    assert faults.kind_of(through_sqlalchemy(OfNobody("x"))) is Kind.UNKNOWN


def test_what_the_driver_refuses_by_itself_is_about_the_value_or_the_connection() -> None:
    assert faults.kind_of(psycopg.DataError("cannot contain NUL")) is Kind.VALUE
    assert faults.kind_of(psycopg.ProgrammingError("cannot adapt type")) is Kind.VALUE
    assert faults.kind_of(psycopg.OperationalError("the connection is closed")) is Kind.AWAY
    assert faults.kind_of(psycopg.InterfaceError("the connection is lost")) is Kind.AWAY
    assert faults.kind_of(pg.SerializationFailure("x")) is Kind.COLLISION
    assert faults.kind_of(ValueError("not of a driver")) is None
    assert faults.kind_of(None) is None


SQLITE = {
    Kind.AWAY: [
        "BUSY",
        "BUSY_SNAPSHOT",
        "LOCKED",
        "LOCKED_SHAREDCACHE",
        "CANTOPEN",
        "IOERR",
        "IOERR_WRITE",
    ],
    Kind.STALE: ["READONLY", "READONLY_DBMOVED", "CORRUPT", "NOTADB"],
    Kind.REFUSED: ["FULL", "NOMEM", "PERM", "AUTH", "PROTOCOL", "INTERRUPT"],
    Kind.COLLISION: ["ABORT", "SCHEMA"],
    Kind.VALUE: ["TOOBIG", "MISMATCH", "CONSTRAINT_CHECK", "CONSTRAINT_NOTNULL"],
    Kind.UNKNOWN: ["ERROR", "CONSTRAINT_UNIQUE", "CONSTRAINT_FOREIGNKEY", "MISUSE"],
}


@each("kind, name", [(kind, name) for kind, names in SQLITE.items() for name in names])
def test_every_code_of_sqlite_has_its_kind(kind: Kind, name: str) -> None:
    error = sqlite3.OperationalError("it says so")
    error.sqlite_errorname = f"SQLITE_{name}"
    assert faults.kind_of(error) is kind
    assert faults.kind_of(through_sqlalchemy(error)) is kind


def test_a_lock_in_a_file_costs_no_connection_and_a_bad_file_does() -> None:
    for name, spoils in (("BUSY", False), ("LOCKED", False), ("READONLY", True), ("IOERR", True)):
        error = sqlite3.OperationalError("it says so")
        error.sqlite_errorname = f"SQLITE_{name}"
        assert faults.spoils_pool(error) is spoils


def test_what_sqlites_driver_cannot_bind_is_about_the_value(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x")) as connection:
        with pytest.raises(sqlite3.Error) as raised:
            connection.execute("SELECT ?", [object()])
        assert faults.kind_of(raised.value) is Kind.VALUE
        with pytest.raises(sqlite3.OperationalError) as missing:
            connection.execute("SELECT * FROM taskdb_task")
        assert faults.kind_of(missing.value) is Kind.SCHEMA
