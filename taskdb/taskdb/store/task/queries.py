"""Every statement that is not a move of one verb: leases, remarks, and small questions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from taskdb.model.status import OPEN, PUBLISHABLE, RUNNING, TERMINAL, WAITING, TaskStatus, in_order
from taskdb.store.engine.dialect import Columns, StoreDialect
from taskdb.store.engine.tables import JSON_COLUMNS
from taskdb.store.task.draft_columns import DRAFT_COLUMNS, DRAFT_JSON, TRACED_COLUMNS, WHEN
from taskdb.store.task.moves.fragments import not_aside, reported
from taskdb.store.task.moves.waiting import MARKS
from taskdb.store.task.slot_need import is_gated

PUBLICATION = (
    "id, type, queue, priority, relay_at, deadline_at, created_at, role, parent_id, chunk, trace,"
    " attempt"
)

BUSY = WAITING | RUNNING
"""Sub-tasks that take a place in their parent's window."""
UNDONE = frozenset({TaskStatus.FAILED, TaskStatus.CANCELED})
"""Over, and not well."""
FEW = 16
"""Open parts are counted up to here; beyond it, how many there are makes no difference."""
BAD = frozenset({TaskStatus.FAILED, TaskStatus.CANCELED, TaskStatus.HALTED})
"""What `retry_task` of a parent runs again."""
PARENT_COLUMNS = (
    "id",
    "tenant",
    "type",
    "name",
    "kind",
    "role",
    "status",
    "spec",
    "waits_for",
    "parent_id",
    "position",
    "input",
    "input_ref",
    "result",
    "result_ref",
    "error",
    "attempt",
    "claim_token",
    "queue",
    "priority",
    "request_id",
    "created_by",
    "created_ip",
    "cancel_requested_at",
    "called_back",
    "trace",
)


REFUSALS: Columns = {**MARKS, "reason": "text"}
REFUSED_SECONDS = 5.0
REFUSED_LONGEST_SECONDS = 300.0
"""A message that the broker refuses is tried again after between these two."""

_GRACE = (
    ":grace + CASE WHEN draft.role = 'part' THEN COALESCE(draft.position, 0) / 2000.0 ELSE 0 END"
)
"""Parts are published by who made them, one after another: the last ones have more time."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements, for one dialect."""

    insert: str
    insert_traced: str
    lease_due: str
    due: str
    lease_these: str
    release: str
    note_refusal: str
    refuse: str
    publications: str
    report: str
    remark: str
    cancel_wanted: str
    going_on: str
    lock: str
    place: str
    trees: str
    counts: str
    window: str
    parts_left: str
    newest_step: str
    handlers: str
    open_ids: str
    retryable_ids: str
    parts: str
    family: str
    release_held: str
    neglected: str
    neglected_page: str
    overdue: str
    expect_callback: str
    awaiting: str
    called_back: str
    late_callbacks: str
    late_callback: str
    existing: str
    free_key: str


@cache
def queries_for(d: StoreDialect) -> Queries:
    """Spell every statement for one database."""
    report = ", ".join(f"{column} = {value}" for column, value in reported(d))
    asks = _asks_for_a_join(d)
    is_due = (
        f"{_status(PUBLISHABLE)} AND held_by IS NULL AND NOT is_adopted"
        f" AND relay_at <= (SELECT {d.now})"
    )
    due = (
        f"SELECT id FROM taskdb_task WHERE {is_due} AND {not_aside(d, 'relay')}"
        " ORDER BY relay_at LIMIT :limit"
    )
    return Queries(
        insert=_insert(d, DRAFT_COLUMNS),
        # Of rows that go on with a trace: others need not write, nor read, one column more.
        insert_traced=_insert(d, TRACED_COLUMNS),
        # Rows whose time to be published has come get a new `relay_at`, that of the lease's end.
        # The clock is asked once (an index cannot be searched for what changes from row to row),
        # and a CTE is run once (a subquery under a join may lock more rows than its limit).
        lease_due=(
            f"WITH due AS ({due}{d.locking('FOR UPDATE SKIP LOCKED')})"
            f" UPDATE taskdb_task SET relay_at = {d.later(':lease')} WHERE id IN (SELECT id"
            f" FROM due) RETURNING {PUBLICATION}{d.lazily}"
        ),
        due=due,
        lease_these=(
            f"UPDATE taskdb_task SET relay_at = {d.later(':lease')} WHERE id"
            f" IN {d.listed_ids('ids')} AND {is_due} RETURNING {PUBLICATION}"
        ),
        # A relay gives back what it leased and could not publish.
        release=(
            "UPDATE taskdb_task SET relay_at = COALESCE(run_at, created_at) WHERE (id, relay_at) IN"
            f" (SELECT draft.id, draft.relay_at FROM {d.drafts('marks', MARKS)})"
            f" AND {_status(PUBLISHABLE)}"
        ),
        # Why the broker did not take the messages of some rows, in their history; the lock keeps
        # another relay from them until they have their new time.
        note_refusal=(
            "INSERT INTO taskdb_event"
            " (task_id, tenant, from_status, to_status, attempt, worker, at, detail)"
            " SELECT t.id, t.tenant, t.status, t.status, t.attempt, t.worker,"
            f" {d.now}, {d.made('refused', 'draft.reason')}"
            f" FROM taskdb_task AS t JOIN {d.drafts('marks', REFUSALS)}"
            " ON draft.id = t.id AND draft.relay_at = t.relay_at"
            f" WHERE t.{_status(PUBLISHABLE)}{d.locking('FOR UPDATE OF t')}"
        ),
        # They are due again after as long as they have waited: later and later. No move, so that
        # `updated_at` stays the time since which they wait.
        refuse=(
            f"UPDATE taskdb_task SET relay_at = {d.later(_pause(d))} WHERE (id, relay_at) IN"
            f" (SELECT draft.id, draft.relay_at FROM {d.drafts('marks', MARKS)})"
            f" AND {_status(PUBLISHABLE)}"
        ),
        # What the broker is told of some rows, as they are now; of what is held, nothing.
        publications=(
            f"SELECT {d.told(PUBLICATION)} FROM taskdb_task WHERE id IN {d.listed_ids('ids')}"
            " AND held_by IS NULL ORDER BY created_at, id"
        ),
        # A body's further words of progress, which are no move.
        report=(
            f"UPDATE taskdb_task AS old SET {report}, updated_at = {d.now} WHERE old.id = :id"
            " AND old.claim_token = :token AND old.status = 'PROCESSING' RETURNING id"
            f"{d.lazily}"
        ),
        # A line of history for a task that stays as it is; the lock keeps a move from slipping in.
        remark=(
            "INSERT INTO taskdb_event"
            " (task_id, tenant, from_status, to_status, attempt, worker, at, detail)"
            " SELECT id, tenant, status, status, attempt, worker,"
            f" {d.now}, {d.json('detail')} FROM taskdb_task WHERE id = :id{d.locking('FOR SHARE')}"
            " RETURNING task_id"
        ),
        # A run that goes on, and that nobody asked to stop.
        cancel_wanted=(
            "SELECT 1 AS holds FROM taskdb_task WHERE id = :id AND claim_token = :token"
            f" AND {_status(RUNNING)} AND cancel_requested_at IS NULL"
        ),
        # Those of some that go on in this run, and that nobody asked to stop.
        going_on=(
            f"SELECT id FROM taskdb_task WHERE id IN {d.listed_ids('ids')} AND claim_token = :token"
            f" AND {_status(RUNNING)} AND cancel_requested_at IS NULL"
        ),
        # A parent and what decides about it, kept from everyone else until the transaction ends.
        lock=(
            f"SELECT {', '.join(_read(name) for name in PARENT_COLUMNS)} FROM taskdb_task"
            f" WHERE id = :id{d.locking('FOR UPDATE')}"
        ),
        place="SELECT id, role, parent_id, status FROM taskdb_task WHERE id = :id",
        # Which of these are parents or sub-tasks.
        trees=(
            f"SELECT id FROM taskdb_task WHERE id IN {d.listed_ids('ids')}"
            " AND (spec IS NOT NULL OR parent_id IS NOT NULL)"
        ),
        # How many parts of a fan-out are where, over an index of their parent.
        counts=(
            "SELECT status, count(*) AS number,"
            " count(CASE WHEN held_by = 'window' THEN 1 END) AS held FROM taskdb_task"
            " WHERE parent_id = :parent AND role = 'part' GROUP BY status"
        ),
        # The same question for a parent with a window, which asks at the end of every part: what
        # it costs depends on the window and not on the number of parts.
        window=(
            "SELECT EXISTS (SELECT 1 FROM taskdb_task WHERE parent_id = :parent"
            " AND held_by = 'window') AS is_held, EXISTS (SELECT 1 FROM taskdb_task"
            f" WHERE parent_id = :parent AND role = 'part' AND {_status(UNDONE)}) AS is_bad,"
            " (SELECT count(*) FROM taskdb_task WHERE parent_id = :parent AND role = 'part'"
            f" AND (held_by IS NULL OR held_by <> 'window') AND {_status(BUSY)}) AS busy"
        ),
        # The short question after a part: are some open, is one held, must a failure end it all?
        parts_left=(
            "SELECT (SELECT count(*) FROM (SELECT 1 AS one FROM taskdb_task"
            f" WHERE parent_id = :parent AND role = 'part' AND {_status(OPEN)}"
            f" LIMIT {FEW + 1}) AS few) AS open, EXISTS (SELECT 1 FROM taskdb_task"
            " WHERE parent_id = :parent AND held_by = 'window') AS is_held,"
            f" COALESCE((SELECT {d.member('spec', 'fan_out', 'join')} = 'fail_fast'"
            " FROM taskdb_task WHERE id = :parent), false) AS is_hasty"
        ),
        newest_step=(
            "SELECT id, status, position, name, CAST(result AS TEXT) AS result, result_ref,"
            " CAST(error AS TEXT) AS error FROM taskdb_task WHERE parent_id = :parent"
            " AND role = 'step' AND position >= :base ORDER BY position DESC LIMIT 1"
        ),
        handlers=(
            "SELECT id, status, position, name, CAST(result AS TEXT) AS result, result_ref,"
            " CAST(error AS TEXT) AS error FROM taskdb_task WHERE parent_id = :parent"
            " AND role = 'handler' AND position BETWEEN :first AND :last ORDER BY position"
        ),
        # Open sub-tasks that nobody has asked to stop yet.
        open_ids=(
            f"SELECT id FROM taskdb_task WHERE parent_id = :parent AND {_status(OPEN)}"
            " AND cancel_requested_at IS NULL AND id > :after ORDER BY id LIMIT :limit"
        ),
        retryable_ids=(
            "SELECT id, spec IS NOT NULL AS is_parent FROM taskdb_task WHERE parent_id = :parent"
            f" AND role = 'part' AND ({_status(BAD)} OR {_status(TERMINAL)} AND :force)"
            " AND id > :after ORDER BY id LIMIT :limit"
        ),
        # Parts in order of their items, to compare them with others.
        parts=(
            "SELECT id, position, status, CAST(input AS TEXT) AS input, input_ref,"
            " spec IS NOT NULL AS is_parent FROM taskdb_task WHERE parent_id = :parent"
            " AND role = 'part' AND position > :after ORDER BY position LIMIT :limit"
        ),
        # Parts to publish, a page at a time.
        family=(
            f"SELECT {PUBLICATION} FROM taskdb_task WHERE parent_id = :parent AND id > :after"
            " AND status = 'CREATED' AND held_by IS NULL ORDER BY id LIMIT :limit"
        ),
        # The next parts that a window lets go; a gated one comes before the gate then.
        release_held=(
            "UPDATE taskdb_task SET held_by = CASE WHEN is_gated THEN 'gate' END,"
            f" relay_at = CASE WHEN run_at > {d.now} THEN run_at"
            f" WHEN is_gated THEN {d.now} ELSE {d.later(':delay')} END"
            # Locked in order, as a cancel of many does; one that it took is not let go any more.
            " WHERE id IN (SELECT id FROM taskdb_task WHERE parent_id = :parent"
            f" AND held_by = 'window' ORDER BY position LIMIT :limit{d.locking('FOR UPDATE')})"
            " RETURNING id, held_by"
        ),
        # Parents that wait for nothing any more, or whose end did not reach all their sub-tasks,
        # or that shall fail fast, or whose window is not full: the end of a sub-task was not
        # followed by its join.
        neglected=(
            f"SELECT p.id FROM taskdb_task AS p WHERE {_WAITS_BELOW} AND p.id > :after AND ({asks})"
            f" AND {not_aside(d, 'reconcile', 'p.id')} ORDER BY p.id LIMIT :limit"
        ),
        # The same of the next parents that wait, however few of them are neglected; `is_last` is
        # the place behind a full page.
        neglected_page=(
            "WITH page AS (SELECT p.id, p.spec, p.error, p.cancel_requested_at"
            f" FROM taskdb_task AS p WHERE {_WAITS_BELOW} AND p.id > :after ORDER BY p.id"
            f" LIMIT :look) SELECT p.id, false AS is_last FROM page AS p WHERE ({asks})"
            f" AND {not_aside(d, 'reconcile', 'p.id')} UNION ALL"
            " SELECT * FROM (SELECT id, true AS is_last FROM page"
            " ORDER BY id LIMIT 1 OFFSET :look - 1) AS edge"
        ),
        # Parents whose time is up; a deadline to begin by is not one to be over by.
        overdue=(
            "SELECT id FROM taskdb_task WHERE waits_for IN ('parts', 'steps', 'on_start')"
            f" AND status = 'PROCESSING' AND NOT is_adopted AND {not_aside(d, 'reconcile')}"
            f" AND deadline_at <= (SELECT {d.now}) AND error IS NULL"
            f" AND ({d.member('spec', 'fan_out', 'timeout')} IS NOT NULL"
            f" OR {d.member('spec', 'sequence', 'timeout')} IS NOT NULL) ORDER BY id LIMIT :limit"
        ),
        # A run gives the outside a token, of which the row knows the hash.
        expect_callback=(
            f"UPDATE taskdb_task AS old SET callback_hash = :hash, updated_at = {d.now},"
            f" callback_until = COALESCE({d.moment('until')}, {d.later(d.number('timeout'))})"
            " WHERE old.id = :id AND old.claim_token = :token"
            " AND old.status IN ('STARTED', 'PROCESSING') AND old.waits_for IS NULL"
            " AND old.called_back IS NULL AND old.cancel_requested_at IS NULL RETURNING id"
        ),
        # The task that this callback is for, if it still wants one.
        awaiting=(
            "SELECT id, tenant, type, role, parent_id, attempt FROM taskdb_task"
            f" WHERE callback_hash = :hash AND (callback_until IS NULL OR callback_until > {d.now})"
            " AND status IN ('STARTED', 'PROCESSING')"
            " AND (waits_for = 'callback' OR waits_for IS NULL AND called_back IS NULL)"
        ),
        called_back="SELECT 1 AS holds FROM taskdb_task WHERE id = :id AND called_back IS NOT NULL",
        # Tasks that nobody called back in time.
        late_callbacks=(
            "SELECT id, role, parent_id FROM taskdb_task WHERE waits_for = 'callback'"
            f" AND callback_until <= (SELECT {d.now}) AND NOT is_adopted"
            f" AND {not_aside(d, 'callbacks')} ORDER BY callback_until LIMIT :limit"
        ),
        late_callback=(
            "SELECT 1 AS holds FROM taskdb_task WHERE id = :id AND waits_for = 'callback'"
            f" AND callback_until <= {d.now}"
        ),
        # The task that stands where a draft wants to be; its own id counts first.
        existing=(
            f"SELECT {d.told('id, status, relay_at, created_at, run_at, held_by')} FROM taskdb_task"
            " WHERE id = :id"
            f" OR (tenant = :tenant AND type = :type AND unique_key = {d.text('unique_key')})"
            " ORDER BY CASE WHEN id = :id THEN 0 ELSE 1 END LIMIT 1"
        ),
        # A task that is over gives up its unique key.
        free_key=(
            "UPDATE taskdb_task SET unique_key = NULL WHERE tenant = :tenant AND type = :type"
            f" AND unique_key = :unique_key AND {_status(TERMINAL)} AND id <> :id"
        ),
    )


_WAITS_BELOW = "p.waits_for <> 'callback' AND NOT p.is_adopted"
"""A parent `p` that waits for sub-tasks."""


def _asks_for_a_join(d: StoreDialect) -> str:
    """Whether a join would change a parent `p` that waits; of a healthy one it is false."""
    some = "EXISTS (SELECT 1 FROM taskdb_task AS t WHERE t.parent_id = p.id AND"
    number = "(SELECT count(*) FROM taskdb_task AS t WHERE t.parent_id = p.id AND t.role = 'part'"
    bad = f"t.role = 'part' AND t.{_status(UNDONE)}"
    tolerate = d.number_in("p.spec", "fan_out", "tolerate")
    allowed = (
        f"CASE WHEN {tolerate} IS NULL THEN 0 WHEN {tolerate} < 1"
        f" THEN {tolerate} * {number}) + 1e-9 ELSE {tolerate} END"
    )
    window = d.number_in("p.spec", "fan_out", "max_concurrency")
    return (
        f"NOT {some} t.{_status(OPEN)})"
        " OR (p.cancel_requested_at IS NOT NULL OR p.error IS NOT NULL)"
        f" AND {some} t.{_status(OPEN)} AND t.cancel_requested_at IS NULL)"
        f" OR {d.member('p.spec', 'fan_out', 'join')} = 'fail_fast' AND {some} {bad})"
        f" AND {some} t.{_status(OPEN)} AND t.cancel_requested_at IS NULL)"
        f" AND {number} AND t.{_status(UNDONE)}) > {allowed}"
        # A window that cannot be read is looked at as well: its join says what is wrong.
        f" OR {some} t.held_by = 'window') AND ({window} IS NULL OR {window} > {number}"
        f" AND (t.held_by IS NULL OR t.held_by <> 'window') AND t.{_status(BUSY)}))"
    )


def _pause(d: StoreDialect) -> str:
    """The seconds until a row that was refused is tried again."""
    since = d.latest("updated_at", "COALESCE(run_at, updated_at)")
    waited = d.elapsed(since, d.now)
    return (
        f"CASE WHEN {waited} < {REFUSED_SECONDS} THEN {REFUSED_SECONDS}"
        f" WHEN {waited} > {REFUSED_LONGEST_SECONDS} THEN {REFUSED_LONGEST_SECONDS}"
        f" ELSE {waited} END"
    )


def _status(statuses: frozenset[TaskStatus]) -> str:
    return f"status IN ({', '.join(repr(value) for value in in_order(statuses))})"


def _read(column: str) -> str:
    return f"CAST({column} AS TEXT) AS {column}" if column in JSON_COLUMNS else column


def _insert(d: StoreDialect, columns: Columns) -> str:
    """Drafts become rows: SCHEDULED when due later by the database's clock, else CREATED.

    One that a rule concerns is held: it is published by itself, once it has its slots.
    """
    names = ", ".join(columns)
    values = ", ".join(_VALUES.get(name) or _value(d, name) for name in columns)
    due = f"COALESCE({d.later('draft.delay')}, draft.run_at)"
    later = "draft.due > draft.now"
    # One moment for all: rows of one submit are in the order of their ids. Materialized, or each
    # mention of `gated` would ask again.
    return (
        f"INSERT INTO taskdb_task ({names}, is_gated, status, run_at, relay_at, created_at,"
        f" updated_at) WITH draft AS MATERIALIZED (SELECT draft.*, {due} AS due,"
        f" (SELECT {d.now}) AS now,"
        # A parent waits for its sub-tasks and passes no gate.
        f" (draft.kind = 'TASK' AND {is_gated('draft')}) AS gated"
        f" FROM {d.drafts('drafts', {**columns, **WHEN})}) SELECT {values}, draft.gated,"
        f" CASE WHEN {later} THEN 'SCHEDULED' ELSE 'CREATED' END, draft.due,"
        f" CASE WHEN draft.held_by IS NOT NULL THEN {d.never} WHEN {later} THEN draft.due"
        f" WHEN draft.gated THEN draft.now ELSE {d.later(_GRACE)} END, draft.now, draft.now"
        # Without a WHERE, SQLite reads ON CONFLICT as the ON of a join.
        " FROM draft WHERE true ON CONFLICT DO NOTHING"
    )


_VALUES = {
    "chunk": "CASE WHEN NOT draft.gated THEN draft.chunk END",
    "held_by": "COALESCE(draft.held_by, CASE WHEN draft.gated THEN 'gate' END)",
}


def _value(d: StoreDialect, name: str) -> str:
    return d.as_json(f"draft.{name}") if name in DRAFT_JSON else f"draft.{name}"
