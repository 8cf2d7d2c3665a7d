"""A database of the first revision, and what stands in the way of bringing it to the newest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from alembic import command
from sqlalchemy import create_engine

from taskdb.store.engine.migrations.migrate import _config
from taskdb.store.engine.migrations.revision import known


def fill(url: str) -> None:
    """Make tables of the first revision, with tasks and some days of history."""
    upgrade(url, known()[0])
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        for day in (today - timedelta(days=1), today):
            connection.execute(
                f"CREATE TABLE taskdb_event_{day:%Y%m%d} PARTITION OF taskdb_event FOR VALUES"
                f" FROM ('{day.isoformat()}') TO ('{(day + timedelta(days=1)).isoformat()}')"
            )
        connection.execute(
            "INSERT INTO taskdb_task (type) SELECT 'x' FROM generate_series(1, 1000)"
        )
        connection.execute(
            "INSERT INTO taskdb_event (task_id, to_status) SELECT id, 'CREATED' FROM taskdb_task"
        )


def upgrade(url: str, revision: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        command.upgrade(_config(connection), revision)
    engine.dispose()


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
