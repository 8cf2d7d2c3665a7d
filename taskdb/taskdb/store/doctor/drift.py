"""Drift: rows that do not match their history, by class."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from taskdb.store.doctor.finding import Drift, Limits, drift
from taskdb.store.doctor.lost_message import LostMessages, overtaken
from taskdb.store.doctor.server_drift import ServerDrifts
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.task.statements import queries_of
from taskdb.store.task.worker import Workers
from taskdb.store.tree.join import Joins

_LIMITS = Limits()
_LIMIT = 10_000
"""The most rows of a class that are counted."""
_SAMPLE = 50
"""The number of payloads in a sample."""
_LATE_SECONDS = 30.0
"""The delay after which work of a loop counts as not done."""
_PASSED = timedelta(seconds=2 * _LATE_SECONDS)
"""A message is lost if a worker took one that came this much later; rows must be twice as old."""
_LOOK_BACK = timedelta(hours=1)
"""Tasks that began within this time show which messages were taken, even if they are over."""

_RULES = {
    "unpublished": (
        "their time to be published has passed, and no relay has taken them",
        "see that a `taskdb beat` runs and that the broker is reachable",
    ),
    "publish_refused": (
        "the broker does not take their messages; they are tried again later and later",
        (
            "`taskdb why` shows what it refuses: make its queues and the settings alike, or mend "
            "what makes the messages"
        ),
    ),
    "worker_lost": (
        "they run on workers that are dead",
        "see that a `taskdb beat` runs: it does the rescue",
    ),
    "claim_unlisted": (
        "they run by the row, and their live worker does not list them",
        "see that a `taskdb beat` runs: it does the rescue",
    ),
    "adopted_lost": (
        "adopted tasks that run on workers which are dead",
        "see that a `taskdb beat`, or a tracked worker of their app, runs: it marks them",
    ),
    "finished_alone": (
        "their work is done, and they wait for no handler",
        "nothing ends them: `taskdb cancel` them, and please report it",
    ),
    "callback_late": (
        "nobody called them back in time, and they have not failed",
        "see that a `taskdb beat` runs",
    ),
    "event_without_order": (
        "events whose xid was written by hand: no alarm and no notification is sent for them",
        (
            "leave `xid` out of an INSERT, and correct these: on PostgreSQL to the number of a "
            "transaction, `CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)`, on SQLite to 0"
        ),
    ),
    "subscription_dead": (
        "their targets have failed for too long or are gone, and get no notification",
        (
            "see `taskdb subscription show`; then `taskdb subscription resume` continues where it "
            "stopped"
        ),
    ),
    "schedule_refused": (
        "declared schedules that were refused, and are not due as declared",
        (
            "mend them where they are declared, and restart that beat; `taskdb schedule list` "
            "lists them all"
        ),
    ),
    "schedule_broken": (
        "schedules that cannot be fired: their type, input or timetable is wrong",
        "`taskdb schedule show` shows why; change them, or pause them",
    ),
    "slot_stale": (
        "slots of limits that no live task has",
        "see that a `taskdb beat` runs: its release frees them",
    ),
    "held_for_nothing": (
        "they are held although their limits are free",
        "see that a `taskdb beat` runs: its release pass releases them",
    ),
    "worker_waits": (
        "live workers that wait for the database or the payload store, each with the reason",
        "mend what the reason names: what the runs wait to write is kept until then",
    ),
    "worker_stale": (
        "workers that died without a word and still have tasks",
        "see that a `taskdb beat` runs: it does the rescue",
    ),
}
"""The meaning and the advice of each class whose rows the statement of its name finds."""


class Doctor:
    """Finds drift of every class."""

    def __init__(
        self,
        database: Database,
        aside: Aside,
        joins: Joins,
        workers: Workers,
        lost_messages: LostMessages,
        server: ServerDrifts,
    ) -> None:
        self._database = database
        self._aside = aside
        self._joins = joins
        self._workers = workers
        self._lost = lost_messages
        self._server = server

    def drifts(self, *, lease: timedelta, limits: Limits = _LIMITS) -> list[Drift]:
        """Return the classes with findings. A worker seen within the lease is alive."""
        found = [self._by_rule(name, lease) for name in _RULES]
        finders = (
            self._set_aside,
            self._neglected,
            self._lost_messages,
            self._without_consumer,
            self._unknown_types,
        )
        found += [find(lease) for find in finders]
        server = self._server.found(limits)
        return [*(one for one in found if one is not None), *server]

    def payload_references(self) -> list[str]:
        """Return payload references of the newest tasks, as a sample."""
        sql = queries_of(self._database.dialect, "doctor/queries").payload_references
        found = self._database.query(sql, {"limit": _SAMPLE}, writes=False)
        references = [row[name] for row in found for name in ("input_ref", "result_ref")]
        return [str(one) for one in references if one is not None]

    def _by_rule(self, name: str, lease: timedelta) -> Drift | None:
        parameters = {"limit": _LIMIT, "late": _LATE_SECONDS, "lease": lease.total_seconds()}
        sql = getattr(queries_of(self._database.dialect, "doctor/drift"), name)
        found = self._database.query(sql, parameters, writes=False)
        return drift(name, [str(row["example"]) for row in found], *_RULES[name])

    def _set_aside(self, _lease: timedelta) -> Drift | None:
        found = self._aside.listed(_LIMIT)
        return drift(
            "set_aside",
            [f"{one.loop} {one.key} ({one.tries}x): {one.reason}" for one in found],
            "rows that a loop of a beat, or a worker, could not work on, each with loop and reason",
            "mend the row, or what refuses it, or cancel the task; it is tried again by itself, and"
            " at once with `taskdb doctor --fix`",
        )

    def _neglected(self, _lease: timedelta) -> Drift | None:
        return drift(
            "join_missing",
            self._joins.neglected(_LIMIT),
            "parents whose sub-tasks ask for something that they have not done",
            "see that a `taskdb beat` runs: its reconcile loop joins them",
        )

    def _lost_messages(self, lease: timedelta) -> Drift | None:
        """Messages that the reconcile loop has had the time to find."""
        workers = self._lost.live_workers(lease)
        rows = [
            row
            for row in self._lost.queued(None, _LIMIT)
            if row.queued_at <= workers.now - 2 * _PASSED and row.message not in workers.messages
        ]
        passed = overtaken(rows, self._lost.taken(_LOOK_BACK) if rows else {}, _PASSED)
        return drift(
            "message_lost",
            [row.id for row in passed],
            "they wait at the broker, and later ones of their queue have begun",
            "their messages may be lost: the reconcile loop publishes them again",
        )

    def _without_consumer(self, lease: timedelta) -> Drift | None:
        served = {queue for one in self._live(lease) for queue in one.queues}
        wanted = self._names("queues_of_queued")
        return drift(
            "queue_without_consumer",
            sorted(wanted - served),
            "queues with tasks, and no live worker takes them",
            "start one: taskdb worker -Q QUEUE",
        )

    def _unknown_types(self, lease: timedelta) -> Drift | None:
        live = self._live(lease)
        known = {name for one in live for name in one.types}
        wanted = self._names("types_of_waiting") if live else set()
        return drift(
            "type_unknown",
            sorted(wanted - known),
            "task types of waiting tasks that no live worker knows",
            "name their module in TASKDB_TASK_MODULES of the workers, or deploy the code",
        )

    def _live(self, lease: timedelta) -> list[Any]:
        return list(self._workers.seen_since(lease.total_seconds()))

    def _names(self, query: str) -> set[str]:
        sql = getattr(queries_of(self._database.dialect, "doctor/queries"), query)
        found = self._database.query(sql, {"limit": _LIMIT}, writes=False)
        return {str(row["name"]) for row in found}
