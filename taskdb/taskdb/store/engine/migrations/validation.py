"""Validates the checks that a migration of PostgreSQL has added as NOT VALID.

A migration adds a check without reading the rows, since that would hold a strong lock for a long
time on a large table. `taskdb migrate` reads them later, while other processes work: VALIDATE stops
no reader and no writer. A row that violates a check is logged and stops nothing; the next `taskdb
migrate` validates again.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from taskdb.logger import get_logger
from taskdb.store.engine import faults
from taskdb.store.engine.postgresql.partitions import LOCK_TIMEOUT
from taskdb.store.engine.tables import metadata

log = get_logger("taskdb.migrate")

TRIES = 10
"""Tries before the check is left to the next `taskdb migrate`."""
PAUSE_SECONDS = 0.5
MOST_EXAMPLES = 5

_NOT_VALID = text(
    'SELECT conrelid::regclass::text AS "table", conname AS name,'
    " pg_get_expr(conbin, conrelid) AS condition,"
    " (SELECT string_agg(quote_ident(attname), ', ') FROM pg_index JOIN pg_attribute"
    " ON attrelid = indrelid AND attnum = ANY(indkey)"
    " WHERE indrelid = conrelid AND indisprimary) AS key"
    " FROM pg_constraint WHERE contype = 'c' AND NOT convalidated AND conrelid IN"
    " (SELECT to_regclass(name) FROM unnest(CAST(:tables AS TEXT[])) AS given(name)) ORDER BY 1, 2"
)


def validate_checks(engine: Engine) -> None:
    """Validate every check that is not validated, each in its own transaction."""
    transactions = engine.execution_options(isolation_level="READ COMMITTED")
    with transactions.begin() as connection:
        checks = connection.execute(_NOT_VALID, {"tables": list(metadata.tables)}).all()
    for check in checks:
        _validate(transactions, check)


def _validate(transactions: Engine, check: Any) -> None:
    for _ in range(TRIES):
        try:
            with transactions.begin() as connection:
                connection.execute(text(LOCK_TIMEOUT))
                connection.execute(
                    text(f"ALTER TABLE {check.table} VALIDATE CONSTRAINT {check.name}")
                )
        except DBAPIError as error:
            if faults.is_check_violation(error):
                with transactions.begin() as connection:
                    _report(connection, check)
                return
            if not faults.is_lock_conflict(error):
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return
    log.info("check.postponed", table=check.table, check=check.name)


def _report(connection: Connection, check: Any) -> None:
    """Log the number of rows that violate a check, and the keys of some, shortened."""
    broken = f"FROM {check.table} WHERE NOT ({check.condition})"
    count = connection.execute(text(f"SELECT count(*) {broken}")).scalar_one()
    examples = connection.execute(
        text(f"SELECT left(concat_ws(' ', {check.key}), 100) {broken} LIMIT {MOST_EXAMPLES}")
    )
    log.warning(
        "check.violated",
        table=check.table,
        check=check.name,
        rows=count,
        examples=list(examples.scalars()),
        advice="correct or delete these rows, then run `taskdb migrate` again",
    )
