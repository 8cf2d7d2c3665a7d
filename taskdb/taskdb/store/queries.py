"""Every statement that is not a move of one verb: leases, remarks, and small questions."""

from __future__ import annotations

from dataclasses import dataclass

from taskdb.status import PUBLISHABLE, RUNNING, TERMINAL, TaskStatus, in_order
from taskdb.store.dialect import Columns, StoreDialect
from taskdb.store.moves import MARKS, reported

_PUBLICATION = "id, type, queue, priority, relay_at, deadline_at, created_at"

DRAFT_COLUMNS: Columns = {
    "id": "id",
    "tenant": "text",
    "type": "text",
    "kind": "text",
    "role": "text",
    "name": "text",
    "queue": "text",
    "priority": "integer",
    "input": "text",
    "input_ref": "text",
    "attributes": "text",
    "tags": "text",
    "unique_key": "text",
    "parent_id": "id",
    "position": "integer",
    "request_id": "text",
    "created_by": "text",
    "created_ip": "text",
    "deadline_at": "moment",
}
_WHEN: Columns = {"run_at": "moment", "delay": "number"}
DRAFT_JSON = frozenset({"input", "attributes", "tags"})


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements, for one dialect."""

    insert: str
    lease_due: str
    release: str
    publications: str
    report: str
    remark: str
    cancel_wanted: str
    existing: str
    free_key: str


def queries_for(d: StoreDialect) -> Queries:
    """Spell every statement for one database."""
    report = ", ".join(f"{column} = {value}" for column, value in reported(d))
    return Queries(
        insert=_insert(d),
        # Rows whose time to be published has come get a new `relay_at`, that of the lease's end.
        # The clock is asked once (an index cannot be searched for what changes from row to row),
        # and a CTE is run once (a subquery under a join may lock more rows than its limit).
        lease_due=(
            f"WITH due AS (SELECT id FROM task WHERE {_status(PUBLISHABLE)}"
            f" AND relay_at <= (SELECT {d.now}) ORDER BY relay_at LIMIT :limit"
            f"{d.locking('FOR UPDATE SKIP LOCKED')})"
            f" UPDATE task SET relay_at = {d.later(':lease')} WHERE id IN (SELECT id FROM due)"
            f" RETURNING {_PUBLICATION}{d.lazily}"
        ),
        # A relay gives back what it leased and could not publish.
        release=(
            "UPDATE task SET relay_at = COALESCE(run_at, created_at) WHERE (id, relay_at) IN"
            f" (SELECT draft.id, draft.relay_at FROM {d.drafts('marks', MARKS)})"
            f" AND {_status(PUBLISHABLE)}"
        ),
        # What the broker is told of some rows, as they are now.
        publications=(
            f"SELECT {_PUBLICATION} FROM task WHERE id IN {d.listed_ids('ids')}"
            " ORDER BY created_at, id"
        ),
        # A body's further words of progress, which are no move.
        report=(
            f"UPDATE task AS old SET {report}, updated_at = {d.now} WHERE old.id = :id"
            " AND old.claim_token = :token AND old.status = 'PROCESSING' RETURNING id"
            f"{d.lazily}"
        ),
        # A line of history for a task that stays as it is; the lock keeps a move from slipping in.
        remark=(
            "INSERT INTO task_event"
            " (task_id, tenant, from_status, to_status, attempt, worker, at, detail)"
            " SELECT id, tenant, status, status, attempt, worker,"
            f" {d.now}, {d.json('detail')} FROM task WHERE id = :id{d.locking('FOR SHARE')}"
            " RETURNING task_id"
        ),
        # A run that goes on, and that nobody asked to stop.
        cancel_wanted=(
            "SELECT 1 AS holds FROM task WHERE id = :id AND claim_token = :token"
            f" AND {_status(RUNNING)} AND cancel_requested_at IS NULL"
        ),
        # The task that stands where a draft wants to be; its own id counts first.
        existing=(
            "SELECT id, status, relay_at, created_at, run_at FROM task WHERE id = :id"
            f" OR (tenant = :tenant AND type = :type AND unique_key = {d.text('unique_key')})"
            " ORDER BY CASE WHEN id = :id THEN 0 ELSE 1 END LIMIT 1"
        ),
        # A task that is over gives up its unique key.
        free_key=(
            "UPDATE task SET unique_key = NULL WHERE tenant = :tenant AND type = :type"
            f" AND unique_key = :unique_key AND {_status(TERMINAL)} AND id <> :id"
        ),
    )


def _status(statuses: frozenset[TaskStatus]) -> str:
    return f"status IN ({', '.join(repr(value) for value in in_order(statuses))})"


def _insert(d: StoreDialect) -> str:
    """Drafts become rows: SCHEDULED when due later by the database's clock, else CREATED."""
    names = ", ".join(DRAFT_COLUMNS)
    values = ", ".join(
        f"CAST(draft.{name} AS JSONB)"
        if name in DRAFT_JSON and d.name == "postgresql"
        else f"draft.{name}"
        for name in DRAFT_COLUMNS
    )
    due = f"COALESCE({d.later('draft.delay')}, draft.run_at)"
    later = "draft.due > draft.now"
    # One moment for all: rows of one submit are in the order of their ids.
    return (
        f"INSERT INTO task ({names}, status, run_at, relay_at, created_at, updated_at)"
        f" SELECT {values}, CASE WHEN {later} THEN 'SCHEDULED' ELSE 'CREATED' END, draft.due,"
        f" CASE WHEN {later} THEN draft.due ELSE {d.later(':grace')} END, draft.now, draft.now"
        f" FROM (SELECT draft.*, {due} AS due, (SELECT {d.now}) AS now"
        f" FROM {d.drafts('drafts', {**DRAFT_COLUMNS, **_WHEN})}) AS draft"
        # Without a WHERE, SQLite reads ON CONFLICT as the ON of a join.
        " WHERE true ON CONFLICT DO NOTHING"
    )
