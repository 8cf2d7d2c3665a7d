"""Drift: rows that are not as what happened says they should be, by class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskdb.model.status import PUBLISHABLE, WAITING, TaskStatus, in_order
from taskdb.store.doctor.finding import Drift, Limits, drift
from taskdb.store.doctor.lost_message import LostMessages, overtaken
from taskdb.store.doctor.server_drift import ServerDrifts
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.event_order import has_order
from taskdb.store.task.statements import fragment
from taskdb.store.task.worker import Workers
from taskdb.store.tree.join import Joins

_LIMITS = Limits()
_LIMIT = 10_000
"""Rows of a class that are counted."""
_SAMPLE = 50
"""Payloads that are looked for."""
_LATE_SECONDS = 30.0
"""What a loop should have done so long ago, it has not done."""
_PASSED = timedelta(seconds=2 * _LATE_SECONDS)
"""A message that came so much later and was taken says that one is lost; twice that to find it."""
_LOOK_BACK = timedelta(hours=1)
"""Tasks that began within it may be over, and still say which message was taken."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """A class of drift that one statement finds; it answers the examples."""

    name: str
    sql: str
    meaning: str
    advice: str


class Doctor:
    """The question what is not as it should be."""

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
        """Every class of which there is something; a worker seen within the lease is alive."""
        found = [self._by_rule(rule, lease) for rule in self._rules()]
        found += [find(lease) for find in self._finders()]
        server = self._server.found(limits)
        return [*(one for one in found if one is not None), *server]

    def payload_references(self) -> list[str]:
        """A sample of the payloads that rows name: those of the newest tasks."""
        found = self._database.query(
            "SELECT input_ref, result_ref FROM taskdb_task WHERE id IN (SELECT id FROM taskdb_task"
            " WHERE input_ref IS NOT NULL OR result_ref IS NOT NULL ORDER BY id DESC LIMIT :limit)",
            {"limit": _SAMPLE},
            writes=False,
        )
        references = [row[name] for row in found for name in ("input_ref", "result_ref")]
        return [str(one) for one in references if one is not None]

    def _finders(self) -> tuple[Callable[[timedelta], Drift | None], ...]:
        return (
            self._set_aside,
            self._neglected,
            self._lost_messages,
            self._without_consumer,
            self._unknown_types,
        )

    def _by_rule(self, rule: _Rule, lease: timedelta) -> Drift | None:
        parameters = {"limit": _LIMIT, "late": _LATE_SECONDS, "lease": lease.total_seconds()}
        found = self._database.query(rule.sql, parameters, writes=False)
        return drift(rule.name, [str(row["example"]) for row in found], rule.meaning, rule.advice)

    def _rules(self) -> Iterator[_Rule]:
        d = self._database.dialect
        ago, dead = d.later("-:late"), d.later("-:lease")
        waiting = f"status IN ({_listed(PUBLISHABLE)})"
        yield _Rule(
            "unpublished",
            f"SELECT id AS example FROM taskdb_task WHERE {waiting} AND held_by IS NULL"
            f" AND NOT is_adopted AND relay_at < (SELECT {ago}) ORDER BY relay_at LIMIT :limit",
            "their time to be published has passed, and no relay has taken them",
            "see that a `taskdb beat` runs and that the broker answers",
        )
        yield _Rule(
            "publish_refused",
            f"SELECT t.id AS example FROM taskdb_task AS t WHERE t.{waiting} AND t.held_by IS NULL"
            f" AND NOT t.is_adopted AND COALESCE(t.run_at, t.created_at) <= (SELECT {d.now})"
            " AND EXISTS (SELECT 1 FROM taskdb_event AS e WHERE e.task_id = t.id"
            " AND e.from_status = e.to_status AND e.at >= t.updated_at"
            f" AND {d.member('e.detail', 'refused')} IS NOT NULL) ORDER BY t.id LIMIT :limit",
            "the broker does not take their messages; they are tried again later and later",
            "`taskdb why` says what it refuses: make its queues and the settings alike, or mend"
            " what makes the messages",
        )
        yield _Rule(
            "worker_lost",
            f"SELECT t.id AS example {fragment(d, '{runs_where {is_dead}}')}"
            " ORDER BY t.id LIMIT :limit",
            "they run on workers that are dead",
            "see that a `taskdb beat` runs: it does the rescue",
        )
        yield _Rule(
            "claim_unlisted",
            f"SELECT t.id AS example {fragment(d, '{runs_where NOT {is_dead} AND {is_unlisted}}')}"
            " ORDER BY t.id LIMIT :limit",
            "they run by the row, and their live worker does not list them",
            "see that a `taskdb beat` runs: it does the rescue",
        )
        yield _Rule(
            "adopted_lost",
            "SELECT t.id AS example FROM taskdb_task AS t LEFT JOIN taskdb_worker AS w"
            " ON w.id = t.worker WHERE t.is_adopted AND t.status = 'STARTED'"
            f" AND t.worker IS NOT NULL AND t.updated_at < (SELECT {dead}) AND (w.id IS NULL"
            f" OR w.stopped_at IS NOT NULL OR w.seen_at < (SELECT {dead})) ORDER BY t.id"
            " LIMIT :limit",
            "adopted tasks that run on workers which are dead",
            "see that a `taskdb beat`, or a tracked worker of their app, runs: it marks them",
        )
        yield _Rule(
            "finished_alone",
            "SELECT id AS example FROM taskdb_task WHERE status = 'FINISHED' AND waits_for IS NULL"
            " ORDER BY id LIMIT :limit",
            "their work is done, and they wait for no handler",
            "nothing ends them: `taskdb cancel` them, and please report it",
        )
        yield _Rule(
            "callback_late",
            "SELECT id AS example FROM taskdb_task WHERE waits_for = 'callback'"
            f" AND callback_until < (SELECT {ago}) ORDER BY callback_until LIMIT :limit",
            "nobody called them back in time, and they have not failed",
            "see that a `taskdb beat` runs",
        )
        yield _Rule(
            "event_without_order",
            f"SELECT task_id AS example FROM taskdb_event WHERE NOT {has_order(d.name, 'xid')}"
            " ORDER BY xid LIMIT :limit",
            "events whose xid was written by hand: no alarm and no notification tells of them",
            "leave `xid` out of an INSERT, and correct these: on PostgreSQL to the number of a"
            " transaction, `CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)`, on SQLite to 0",
        )
        yield _Rule(
            "subscription_dead",
            "SELECT name AS example FROM taskdb_subscription WHERE state = 'dead' ORDER BY name"
            " LIMIT :limit",
            "their targets have failed for too long or are gone, and are told nothing",
            "see `taskdb subscription show`; then `taskdb subscription resume` goes on where it"
            " stopped",
        )
        yield _Rule(
            "schedule_refused",
            "SELECT name || ' (' || origin || '): ' || reason AS example"
            " FROM taskdb_schedule_refusal ORDER BY origin, name LIMIT :limit",
            "declared schedules that were refused, and are not due as declared",
            "mend them where they are declared, and restart that beat; `taskdb schedule list`"
            " lists them all",
        )
        yield _Rule(
            "schedule_broken",
            "SELECT name AS example FROM taskdb_schedule WHERE is_enabled"
            " AND last_error IS NOT NULL ORDER BY name LIMIT :limit",
            "schedules that cannot be fired: their type, input or timetable is wrong",
            "`taskdb schedule show` says why; change them, or pause them",
        )
        yield _Rule(
            "slot_stale",
            "SELECT s.key AS example FROM taskdb_slot AS s LEFT JOIN taskdb_task AS t"
            " ON t.id = s.task_id WHERE s.task_id IS NOT NULL AND (t.id IS NULL"
            " OR t.waits_for IS NOT NULL OR t.status"
            " IN ('COMPLETED', 'FAILED', 'CANCELED', 'HALTED', 'FINISHED', 'ERRORED'))"
            " ORDER BY s.key LIMIT :limit",
            "places of rules that no live task has",
            "see that a `taskdb beat` runs: its release frees them",
        )
        yield _Rule(
            "held_for_nothing",
            "SELECT t.id AS example FROM taskdb_task AS t WHERE t.held_by IS NOT NULL"
            f" AND t.updated_at < (SELECT {ago}) AND {waiting} AND"
            " (substr(t.held_by, 1, 6) = 'mutex:' AND NOT EXISTS"
            " (SELECT 1 FROM taskdb_slot AS s WHERE s.key = t.held_by)"
            " OR substr(t.held_by, 1, 7) = 'paused:' AND NOT EXISTS (SELECT 1"
            " FROM taskdb_limit AS g WHERE t.held_by = 'paused:' || g.target || ':' || g.name"
            " AND g.is_paused) OR substr(t.held_by, 1, 8) = 'running:' AND NOT EXISTS (SELECT 1"
            " FROM taskdb_limit AS g WHERE t.held_by = 'running:' || g.target || ':' || g.name"
            " AND g.max_running <= (SELECT count(*) FROM taskdb_slot AS s WHERE s.key = t.held_by))"
            " OR t.held_by = 'gate') ORDER BY t.id LIMIT :limit",
            "they are held by rules that are free",
            "see that a `taskdb beat` runs: its release lets them go",
        )
        yield _Rule(
            "worker_waits",
            "SELECT name || ': ' || waiting AS example FROM taskdb_worker WHERE waiting IS NOT NULL"
            f" AND stopped_at IS NULL AND seen_at >= (SELECT {dead}) ORDER BY name LIMIT :limit",
            "live workers that wait for the database or the payload store, each with the reason",
            "mend what the reason names: what the runs wait to write is kept until then",
        )
        yield _Rule(
            "worker_stale",
            "SELECT name AS example FROM taskdb_worker AS w WHERE stopped_at IS NULL"
            f" AND (seen_at IS NULL OR seen_at < (SELECT {dead})) AND EXISTS (SELECT 1"
            " FROM taskdb_task AS t WHERE t.worker = w.id AND t.status IN ('STARTED', 'PROCESSING')"
            " AND NOT t.is_adopted) ORDER BY started_at LIMIT :limit",
            "workers that died without a word and still have tasks",
            "see that a `taskdb beat` runs: it does the rescue",
        )

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
        """What the reconcile loop would find, and had time to."""
        crew = self._lost.crew(lease)
        rows = [
            row
            for row in self._lost.queued(None, _LIMIT)
            if row.queued_at <= crew.now - 2 * _PASSED and row.message not in crew.messages
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
        wanted = self._distinct("queue", frozenset({TaskStatus.QUEUED}))
        return drift(
            "queue_without_consumer",
            sorted(wanted - served),
            "queues with tasks, and no live worker takes them",
            "start one: taskdb worker -Q QUEUE",
        )

    def _unknown_types(self, lease: timedelta) -> Drift | None:
        live = self._live(lease)
        known = {name for one in live for name in one.types}
        wanted = self._distinct("type", WAITING) if live else set()
        return drift(
            "type_unknown",
            sorted(wanted - known),
            "task types of waiting tasks that no live worker knows",
            "name their module in TASKDB_TASK_MODULES of the workers, or deploy the code",
        )

    def _live(self, lease: timedelta) -> list[Any]:
        return list(self._workers.seen_since(lease.total_seconds()))

    def _distinct(self, column: str, statuses: frozenset[TaskStatus]) -> set[str]:
        found = self._database.query(
            f"SELECT DISTINCT {column} AS name FROM taskdb_task WHERE status"
            f" IN ({_listed(statuses)}) AND NOT is_adopted LIMIT :limit",
            {"limit": _LIMIT},
            writes=False,
        )
        return {str(row["name"]) for row in found}


def _listed(statuses: frozenset[TaskStatus]) -> str:
    return ", ".join(repr(value) for value in in_order(statuses))
