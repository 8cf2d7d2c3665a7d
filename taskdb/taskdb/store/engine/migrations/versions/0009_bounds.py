"""Bounds that rows by plain SQL meet as well: of texts that are indexed, of moments, of durations.

An entry of an index holds 2,704 bytes, all of its columns together. The wait queue of a mutex is
named by the tenant, in which some characters become three, and the key. A moment that a program
cannot hold would keep every list from being read; a duration that cannot be added to a moment
would stop the statement that adds it.

The checks are not validated: that would read whole tables under a lock. Instead the rows that are
there are mended first, so that each of them can be updated.
"""

import re

from alembic import op

revision = "0009"
down_revision = "0008"
oldest_code = "0008"

ENTRY_BYTES = 2_600
"""Of an entry of an index, with room for its head and its other columns."""
NAME_BYTES = 1_000
LONGEST_SECONDS = 3_153_600_000
FIRST, LAST = "'0001-01-02T00:00:00.000Z'", "'9999-01-01T00:00:00.000Z'"

NAMES = {
    "gate": ("name",),
    "schedule": ("tenant", "name", "type"),
    "subscription": ("tenant", "name"),
    "alarm_policy": ("type",),
}
DURATIONS = {
    "gate": ("window_seconds",),
    "schedule": ("interval_seconds", "misfire_grace_seconds"),
    "alarm_policy": ("backlog_seconds",),
}
# Those that loops compare, and from which they count seconds: before PostgreSQL 17, one that is
# infinite stops the whole statement.
MOMENTS = {
    "task": (
        "relay_at",
        "run_at",
        "deadline_at",
        "callback_until",
        "created_at",
        "updated_at",
        "queued_at",
        "started_at",
        "ended_at",
        "cancel_requested_at",
    ),
    "schedule": (
        "once_at",
        "starts_at",
        "ends_at",
        "next_due_at",
        "retry_at",
        "last_due_at",
        "created_at",
    ),
    "worker": ("started_at", "seen_at", "stopped_at"),
    "alarm": ("snoozed_until", "window_until", "last_seen_at", "resolved_at"),
    "alarm_delivery": ("next_try_at", "sent_at", "created_at"),
    "subscription": ("previous_until", "next_try_at", "lease_until", "failing_since"),
}
TASK_ARGUMENTS = {
    **dict.fromkeys(("tenant", "type", "unique_key", "mutex_key"), "TEXT"),
    **dict.fromkeys(MOMENTS["task"], "TIMESTAMPTZ"),
}

# Columns stand in brackets, since a trigger of SQLite calls them otherwise than a check.
_KEYS_FIT = (
    f"bytes([tenant]) * 3 + COALESCE(bytes([mutex_key]), 0) <= {ENTRY_BYTES} AND ([unique_key] IS"
    f" NULL OR bytes([tenant]) + bytes([type]) + bytes([unique_key]) <= {ENTRY_BYTES})"
)


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    bound = _postgresql_check if is_postgresql else _sqlite_triggers
    if is_postgresql:
        _execute(
            "UPDATE task SET mutex_key = 'md5:' || md5(mutex_key)"
            f" WHERE octet_length(tenant) * 3 + octet_length(mutex_key) > {ENTRY_BYTES}"
        )
    for table in sorted({*NAMES, *DURATIONS, *MOMENTS}):
        limits = [
            *((column, _between(column), FIRST, LAST) for column in MOMENTS.get(table, ())),
            *(
                (column, _short(column), "0", LONGEST_SECONDS)
                for column in DURATIONS.get(table, ())
            ),
        ]
        if limits:
            _mend(table, limits)
        texts = [f"bytes([{column}]) <= {NAME_BYTES}" for column in NAMES.get(table, ())]
        if table == "task":
            texts.append(_KEYS_FIT)
        numbers = [condition for _, condition, _, _ in limits]
        bound(table, [" AND ".join(group) for group in (texts, numbers) if group])


def _between(column: str) -> str:
    return f"([{column}] IS NULL OR [{column}] BETWEEN {FIRST} AND {LAST})"


def _short(column: str) -> str:
    return f"([{column}] IS NULL OR [{column}] <= {LONGEST_SECONDS})"


def _mend(table: str, limits: list[tuple[str, str, str, object]]) -> None:
    """Move what is out of bounds to the nearest bound."""
    sets = ", ".join(
        f"{column} = CASE WHEN {column} < {least} THEN {least} WHEN {column} > {most} THEN {most}"
        f" ELSE {column} END"
        for column, _, least, most in limits
    )
    fits = _spelled(" AND ".join(condition for _, condition, _, _ in limits), "{}")
    _execute(f"UPDATE {table} SET {sets} WHERE NOT ({fits})")


def _postgresql_check(table: str, conditions: list[str]) -> None:
    check = _spelled(" AND ".join(conditions), "{}").replace("bytes(", "octet_length(")
    if table == "task":
        # In a function, as the other check of this table is: see the first migration.
        listed = ", ".join(f"{name} {kind}" for name, kind in TASK_ARGUMENTS.items())
        _execute(
            f"CREATE FUNCTION taskdb_is_bounded({listed}) RETURNS BOOLEAN LANGUAGE plpgsql"
            f" IMMUTABLE PARALLEL SAFE AS $$ BEGIN RETURN {check}; END $$"
        )
        check = f"taskdb_is_bounded({', '.join(TASK_ARGUMENTS)})"
    _execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_is_bounded CHECK ({check}) NOT VALID")


def _sqlite_triggers(table: str, conditions: list[str]) -> None:
    """SQLite adds no check to a table that is there.

    A text of before may be longer, which no index of SQLite minds: only a new one is looked at.
    """
    _sqlite_trigger(table, "insert", "INSERT", " AND ".join(conditions))
    for number, condition in enumerate(conditions):
        columns = ", ".join(dict.fromkeys(re.findall(r"\[(\w+)\]", condition)))
        _sqlite_trigger(table, f"update_{number}", f"UPDATE OF {columns}", condition)


def _sqlite_trigger(table: str, name: str, when: str, condition: str) -> None:
    check = re.sub(r"bytes\((.+?)\)", r"length(CAST(\1 AS BLOB))", _spelled(condition, "NEW.{}"))
    # It compares texts, in which the year 10000 comes before the year 2000.
    check = re.sub(r"(\S+) BETWEEN", r"\1 LIKE '____-__-__%' AND \1 BETWEEN", check)
    _execute(
        f"CREATE TRIGGER {table}_is_bounded_{name} BEFORE {when} ON {table}"
        f" FOR EACH ROW WHEN NOT ({check}) BEGIN"
        f" SELECT RAISE(ABORT, 'CHECK constraint failed: {table}_is_bounded'); END"
    )


def _spelled(condition: str, name: str) -> str:
    return re.sub(r"\[(\w+)\]", lambda found: name.format(found[1]), condition)


def _execute(statement: str) -> None:
    op.get_bind().exec_driver_sql(statement)
