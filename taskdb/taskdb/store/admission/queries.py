"""The statements of gates and slots, and of the lines of tasks that wait before them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from taskdb.model.status import PUBLISHABLE, in_order
from taskdb.store.engine.dialect import Columns, StoreDialect
from taskdb.store.task.moves.fragments import not_aside
from taskdb.store.task.queries import PUBLICATION
from taskdb.store.task.slot_need import concerns

KEYS: Columns = {"key": "text"}
LINES: Columns = {"key": "text", "target": "text", "name": "text"}
PLACES: Columns = {"target": "text", "name": "text"}
SLOTS: Columns = {"key": "text", "n": "integer", "task_id": "id", "seconds": "number"}
RESERVATIONS: Columns = {"key": "text", "task_id": "id"}
HOLDS: Columns = {"id": "id", "held_by": "text"}

_IN_LINE = "held_by IS NOT NULL AND held_by NOT IN ('window', 'gate')"
"""As the index `taskdb_task_wait_queue` has it."""
_WAITS = f"status IN ({', '.join(repr(value) for value in in_order(PUBLISHABLE))})"
_LOOKED_AT = "id, tenant, type, queue, mutex_key, held_by"
_GATE = (
    "g.target, g.name, g.is_paused, g.max_running, g.max_starts, g.window_seconds, g.origin,"
    " g.reason, g.set_by, g.set_at"
)
_RULE = "target, name, is_paused, max_running, max_starts, window_seconds, origin"


@dataclass(frozen=True, slots=True)
class GateQueries:
    """The statements, for one dialect."""

    someone_waits: str
    lines: str
    in_line: str
    arrivals: str
    look: str
    rules: str
    end_windows: str
    take: str
    reserve: str
    unreserve: str
    sweep_reservations: str
    let_go: str
    queue_up: str
    sweep: str
    gates: str
    pause: str
    resume: str
    set_limit: str
    declare: str
    clear_limit: str
    drop_empty: str


@cache
def gate_queries_for(d: StoreDialect) -> GateQueries:
    """Spell every statement for one database."""
    keys = f"(SELECT draft.key FROM {d.drafts('keys', KEYS)})"
    limits = f"{d.integer('max_running')}, {d.integer('max_starts')}, {d.number('window_seconds')}"
    new_limit = (
        f"INSERT INTO taskdb_limit AS old ({_RULE}, reason, set_by, set_at)"
        f" VALUES (:target, :name, false, {limits}, :origin, NULL, {d.text('set_by')}, {d.now})"
        " ON CONFLICT (target, name) DO UPDATE SET max_running = excluded.max_running,"
        " max_starts = excluded.max_starts, window_seconds = excluded.window_seconds,"
        " origin = excluded.origin, set_by = excluded.set_by, set_at = excluded.set_at"
    )
    has_its_slots = (
        "t.waits_for IS NULL AND (t.status IN ('QUEUED', 'STARTED', 'PROCESSING')"
        f" OR t.{_WAITS} AND t.held_by IS NULL)"
    )
    keeper = d.looked_up(
        "taskdb_task", "id, held_by, status, queue, type, tenant", "found.id = r.task_id"
    )
    next_line = f"SELECT held_by FROM taskdb_task WHERE {_IN_LINE} AND held_by >"
    return GateQueries(
        # Two probes of partial indexes: this is asked several times a second.
        someone_waits=(
            f"SELECT EXISTS (SELECT 1 FROM taskdb_task WHERE held_by = 'gate'"
            f" AND relay_at <= (SELECT {d.now}))"
            f" OR EXISTS (SELECT 1 FROM taskdb_task WHERE {_IN_LINE}) AS holds"
        ),
        # The lines in which someone waits, behind this one: a step of an index for each, however
        # long it is.
        lines=(
            f"WITH RECURSIVE line(key) AS (SELECT * FROM ({next_line} {d.text('after')}"
            " ORDER BY held_by LIMIT 1) AS head UNION ALL SELECT"
            f" ({next_line} line.key ORDER BY held_by LIMIT 1) FROM line"
            " WHERE line.key IS NOT NULL) SELECT key FROM line WHERE key IS NOT NULL LIMIT :limit"
        ),
        # The first of one line. What another transaction has is let be: to wait for it would be
        # to wait with locks in hand.
        in_line=(
            f"SELECT {_LOOKED_AT} FROM taskdb_task WHERE {_IN_LINE} AND held_by = :key AND {_WAITS}"
            f" AND {not_aside(d, 'release')} ORDER BY id LIMIT :limit"
            f"{d.locking('FOR UPDATE SKIP LOCKED')}"
        ),
        # Those that nobody has looked at since they became ready.
        arrivals=(
            f"SELECT {_LOOKED_AT} FROM taskdb_task WHERE held_by = 'gate'"
            f" AND relay_at <= (SELECT {d.now}) AND {_WAITS} AND {not_aside(d, 'release')}"
            f" ORDER BY relay_at, id LIMIT :limit{d.locking('FOR UPDATE SKIP LOCKED')}"
        ),
        # All there is to know of some lines: who waits longest, the rule, the slots taken, and
        # for whom places are kept.
        look=(
            f"SELECT draft.key, {_GATE}, (SELECT CAST(id AS TEXT) FROM taskdb_task AS t"
            f" WHERE {_IN_LINE} AND held_by = draft.key ORDER BY t.id LIMIT 1) AS head,"
            f" (SELECT {d.joined('CAST(r.task_id AS TEXT)')} FROM taskdb_reservation AS r"
            " JOIN taskdb_task AS t ON t.id = r.task_id WHERE r.key = draft.key"
            f" AND {_still_waits('t')}) AS reserved,"
            f" (SELECT {d.joined('CAST(s.n AS TEXT)')} FROM taskdb_slot AS s"
            f" WHERE s.key = draft.key) AS taken FROM {d.drafts('lines', LINES)}"
            " LEFT JOIN taskdb_limit AS g ON g.target = draft.target AND g.name = draft.name"
        ),
        rules=(
            f"SELECT {_GATE} FROM taskdb_limit AS g JOIN {d.drafts('places', PLACES)}"
            " ON draft.target = g.target AND draft.name = g.name"
        ),
        # Slots whose window is over. One that its task is ending at this moment is let be.
        end_windows=(
            "DELETE FROM taskdb_slot WHERE (key, n) IN (SELECT s.key, s.n FROM taskdb_slot AS s"
            f" WHERE s.key IN {keys} AND s.until <= (SELECT {d.now})"
            f"{d.locking('FOR UPDATE SKIP LOCKED')})"
        ),
        # The primary key decides.
        take=(
            "INSERT INTO taskdb_slot (key, n, task_id, seconds, taken_at)"
            f" SELECT draft.key, draft.n, draft.task_id, draft.seconds, {d.now}"
            f" FROM {d.drafts('slots', SLOTS)}"
        ),
        reserve=(
            "INSERT INTO taskdb_reservation (key, task_id) SELECT draft.key, draft.task_id"
            f" FROM {d.drafts('reservations', RESERVATIONS)} WHERE true ON CONFLICT DO NOTHING"
        ),
        unreserve=f"DELETE FROM taskdb_reservation WHERE task_id IN {d.listed_ids('ids')}",
        sweep_reservations=(
            "DELETE FROM taskdb_reservation WHERE (key, task_id) IN (SELECT r.key, r.task_id"
            f" FROM taskdb_reservation AS r{keeper} WHERE found.id IS NULL"
            f" OR NOT ({_still_waits('found')})"
            f" LIMIT :limit{d.locking('FOR UPDATE OF r SKIP LOCKED')})"
        ),
        # They have their slots; the relay has them when this process does not publish them. That
        # they wait is known of these and the next: this transaction has locked them.
        let_go=(
            f"UPDATE taskdb_task SET held_by = NULL, relay_at = {d.later(':lease')},"
            f" updated_at = {d.now} WHERE id IN {d.listed_ids('ids')} RETURNING {PUBLICATION}"
        ),
        queue_up=(
            f"UPDATE taskdb_task AS old SET held_by = draft.held_by, relay_at = {d.never}"
            f" FROM {d.drafts('holds', HOLDS)} WHERE old.id = draft.id"
        ),
        # Slots of tasks that are over, gone, or before the gate again; and windows that are over.
        sweep=(
            "DELETE FROM taskdb_slot WHERE (key, n) IN (SELECT s.key, s.n FROM taskdb_slot AS s"
            f" LEFT JOIN taskdb_task AS t ON t.id = s.task_id WHERE s.until <= (SELECT {d.now})"
            f" OR s.until IS NULL AND (t.id IS NULL OR NOT ({has_its_slots}))"
            f" LIMIT :limit{d.locking('FOR UPDATE OF s SKIP LOCKED')}) RETURNING key"
        ),
        gates=f"SELECT {_GATE} FROM taskdb_limit AS g ORDER BY target, name",
        pause=(
            "INSERT INTO taskdb_limit (target, name, is_paused, reason, set_by, set_at)"
            f" VALUES (:target, :name, true, {d.text('reason')}, {d.text('set_by')}, {d.now})"
            " ON CONFLICT (target, name) DO UPDATE SET is_paused = true,"
            " reason = excluded.reason, set_by = excluded.set_by, set_at = excluded.set_at"
        ),
        resume=(
            "UPDATE taskdb_limit SET is_paused = false, reason = NULL,"
            f" set_by = {d.text('set_by')}, set_at = {d.now}"
            " WHERE target = :target AND name = :name AND is_paused RETURNING name"
        ),
        set_limit=new_limit,
        # What a person has set stays.
        declare=(
            f"{new_limit} WHERE old.origin = 'code'"
            " OR old.max_running IS NULL AND old.max_starts IS NULL"
        ),
        clear_limit=(
            "UPDATE taskdb_limit SET max_running = NULL, max_starts = NULL, window_seconds = NULL,"
            f" origin = 'person', set_by = {d.text('set_by')}, set_at = {d.now}"
            " WHERE target = :target AND name = :name"
            " AND (max_running IS NOT NULL OR max_starts IS NOT NULL)"
            f" AND ({d.text('origin')} IS NULL OR origin = {d.text('origin')}) RETURNING name"
        ),
        drop_empty=(
            "DELETE FROM taskdb_limit WHERE target = :target AND name = :name AND NOT is_paused"
            " AND max_running IS NULL AND max_starts IS NULL"
        ),
    )


def _still_waits(row: str) -> str:
    """Whether a row waits in the line of a key, and no pause stops it there."""
    return (
        f"{row}.held_by IS NOT NULL AND {row}.held_by NOT IN ('window', 'gate') AND {row}.{_WAITS}"
        f" AND NOT EXISTS (SELECT 1 FROM taskdb_limit AS p WHERE p.is_paused AND"
        f" ({concerns('p', row)}))"
    )
