"""Rows that are poison: for each loop one that it cannot work on, made by plain SQL."""

from __future__ import annotations

from datetime import timedelta

from tests.chaos.cell import Loop
from tests.chaos.ground import LEASE_SECONDS, Ground

from taskdb.store.store import Store

IS_NONE = "name <> 'poison'"
"""Which tasks are none of these."""
_PAST = "now() - interval '500 days'"
_NEVER = "'9999-01-01'"
_TASK = "INSERT INTO taskdb_task (id, name, type"
_ID = "01936e4b-7c00-7000-8000-00000000dead"
_NEW = f"VALUES ('{_ID}', 'poison', 'chaos.poison'"

_TASKS = {
    Loop.RELAY: f"{_TASK}, relay_at) {_NEW}, {_PAST})",
    Loop.RELEASE: (
        f"{_TASK}, mutex_key, needs_admission, held_by, relay_at)"
        f" {_NEW}, 'k', true, 'admission', {_PAST})"
    ),
    Loop.RESCUE: (
        f"{_TASK}, status, worker, attempt, started_at)"
        f" {_NEW}, 'STARTED', 'gone@chaos', 1, {_PAST})"
    ),
    Loop.EXPIRE: f"{_TASK}, deadline_at, relay_at) {_NEW}, {_PAST}, {_NEVER})",
    Loop.CALLBACKS: (
        f"{_TASK}, status, waits_for, callback_until) {_NEW}, 'PROCESSING', 'callback', {_PAST})"
    ),
    Loop.RECONCILE: (
        f"{_TASK}, kind, status, waits_for, spec)"
        f" {_NEW}, 'FAN_OUT', 'PROCESSING', 'parts', '{{\"fan_out\": 5}}')"
    ),
    Loop.REQUEUE: f"{_TASK}, status, queued_at, created_at) {_NEW}, 'QUEUED', {_PAST}, {_PAST})",
    Loop.ADOPT: (
        f"{_TASK}, status, worker, attempt, is_adopted, relay_at, updated_at)"
        f" {_NEW}, 'STARTED', 'gone@chaos', 1, true, {_NEVER}, {_PAST})"
    ),
    Loop.PRUNE: (
        f"{_TASK}, status, created_at, updated_at, ended_at)"
        f" {_NEW}, 'COMPLETED', {_PAST}, {_PAST}, {_PAST})"
    ),
}
_OTHERS = {
    Loop.SCHEDULE: (
        "INSERT INTO taskdb_schedule (name, type, cron, input)"
        " VALUES ('poison', 'chaos.plain', '* * * * *', '{\"number\": 1}')"
    ),
    Loop.FOLD: (
        "INSERT INTO taskdb_event (task_id, from_status, to_status, detail)"
        f" VALUES ('{_ID}', 'STARTED', 'FAILED', '{{\"error\": \"poison\"}}')"
    ),
    Loop.DELIVER: (
        "INSERT INTO taskdb_subscription (name, transport, target)"
        " VALUES ('poison', 'log', 'poison')"
    ),
    Loop.SWEEP: (
        "INSERT INTO taskdb_worker (id, name, host, pid, started_at)"
        f" VALUES ('poison', 'poison', 'h', 1, {_PAST})"
    ),
}
_REFUSED = {
    Loop.SCHEDULE: ("taskdb_schedule", "UPDATE", "OLD.name = 'poison'"),
    Loop.FOLD: ("taskdb_alarm", "INSERT", "NEW.error_type = 'poison'"),
    Loop.DELIVER: ("taskdb_subscription", "UPDATE", "OLD.name = 'poison'"),
    Loop.SWEEP: ("taskdb_worker", "DELETE", "OLD.name = 'poison'"),
}


def insert(ground: Ground, loop: Loop) -> None:
    """Make the row, and a trigger of a user's own that refuses every change of it."""
    table, verb, when = _REFUSED.get(
        loop, ("taskdb_task", "UPDATE OR DELETE", "OLD.name = 'poison'")
    )
    ground.change(_TASKS.get(loop) or _OTHERS[loop])
    ground.change(
        "CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'this row is refused'; END $$"
    )
    ground.change(
        f"CREATE TRIGGER refuses_poison AFTER {verb} ON {table} FOR EACH ROW"
        f" WHEN ({when}) EXECUTE FUNCTION refuse_poison()"
    )


def is_listed(ground: Ground, loop: Loop) -> bool:
    """Whether the doctor lists a row that this loop has set aside."""
    with Store(ground.env["TASKDB_DATABASE_URL"]).closing() as store:
        found = store.doctor.drifts(lease=timedelta(seconds=LEASE_SECONDS))
    examples = [one for drift in found if drift.name == "set_aside" for one in drift.examples]
    return any(one.startswith(f"{loop} ") for one in examples)
