"""A database of this release, and what brings it to the schema of the next one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from taskdb.store.engine.migrations import declaration, revision
from taskdb.store.engine.migrations import migrate as migration
from tests.releases import add_migration


def fill(url: str) -> None:
    """Give a database of this release tasks, and history of two days."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        day = today - timedelta(days=1)
        connection.execute(
            f"CREATE TABLE taskdb_event_{day:%Y%m%d} PARTITION OF taskdb_event FOR VALUES"
            f" FROM ('{day.isoformat()}') TO ('{today.isoformat()}')"
        )
        connection.execute(
            "INSERT INTO taskdb_task (type) SELECT 'x' FROM generate_series(1, 1000)"
        )
        connection.execute(
            "INSERT INTO taskdb_event (task_id, to_status, at)"
            " SELECT id, 'CREATED', clock_timestamp() - days * interval '1 day'"
            " FROM taskdb_task, generate_series(0, 1) AS days"
        )


@contextmanager
def next_release(folder: Path) -> Iterator[str]:
    """Give this process the migration of the next release; yields its revision."""
    migrations = folder / "migrations"
    shutil.copytree(revision.SCRIPTS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    add_migration(migrations, revision.head())
    with pytest.MonkeyPatch.context() as patched:
        for module in (declaration, migration, revision):
            patched.setattr(module, "SCRIPTS", migrations)
        revision.known.cache_clear()
        yield revision.head()
    revision.known.cache_clear()


def migrated_whole(url: str) -> str:
    """Bring a database to the newest schema in one transaction, as an empty one is."""
    engine = create_engine(url)
    with engine.begin() as connection:
        migration.migrate_over(connection)
    engine.dispose()
    migration.migrate(url)
    return url


@contextmanager
def open_transaction(url: str, *, reads: bool) -> Iterator[psycopg.Connection[Any]]:
    """A caller's transaction that has submitted and moved a task, and may have read the history."""
    with psycopg.connect(url.replace("+psycopg", "")) as caller:
        caller.execute(
            "WITH new AS (INSERT INTO taskdb_task (type) VALUES ('callers') RETURNING id)"
            " INSERT INTO taskdb_event (task_id, to_status) SELECT id, 'CREATED' FROM new"
        )
        caller.execute("UPDATE taskdb_task SET attempt = 1 WHERE type = 'callers'")
        if reads:
            caller.execute("SELECT count(*) FROM taskdb_event")
            caller.execute("SELECT count(*) FROM taskdb_worker")
        yield caller


def schema(url: str) -> set[tuple[Any, ...]]:
    """Tables, columns, indexes (with whether they may be used), checks and triggers."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        found = connection.execute(
            "SELECT table_name, column_name, data_type, column_default, is_nullable"
            " FROM information_schema.columns WHERE table_schema = 'public'"
            " AND table_name !~ '^taskdb_event_[0-9]'"
            " UNION ALL SELECT tablename, indexname, regexp_replace(indexdef, 'ONLY ', ''),"
            " (SELECT indisvalid FROM pg_index WHERE indexrelid = indexname::regclass)::text, ''"
            " FROM pg_indexes WHERE schemaname = 'public' AND tablename !~ '^taskdb_event_'"
            " UNION ALL SELECT c.relname, conname, pg_get_constraintdef(o.oid), convalidated::text,"
            " '' FROM pg_constraint AS o JOIN pg_class AS c ON c.oid = conrelid"
            " WHERE c.relname !~ '^taskdb_event_'"
            " UNION ALL SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', ''"
            " FROM pg_trigger"
            " UNION ALL SELECT proname, pg_get_functiondef(oid), '', '', '' FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace"
        )
        return set(found)


def indexes_per_day(url: str) -> set[int]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        found = connection.execute(
            "SELECT count(i.indexrelid) FILTER (WHERE indisvalid) FROM pg_inherits"
            " LEFT JOIN pg_index AS i ON i.indrelid = inhrelid"
            " WHERE inhparent = 'taskdb_event'::regclass GROUP BY inhrelid"
        )
        return {count for (count,) in found}
