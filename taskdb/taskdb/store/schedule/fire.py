"""Firing schedules: the run of a due time, its task and the next due time, in one transaction.

Any number of beats may fire at once: each takes rows that no other beat has locked. A due time with
a row in `taskdb_schedule_run` is never fired again, by any caller and at any clock time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, case, cast, func, or_, select

from taskdb.errors import BrokerUnreachable, TaskDBError
from taskdb.model.json_text import storable
from taskdb.model.schedule.due import Due
from taskdb.model.schedule.schedule import ScheduleEntity
from taskdb.store.contract import Draft, Scope
from taskdb.store.engine.aside import Aside, is_of_a_row, readable
from taskdb.store.engine.database import Database
from taskdb.store.engine.tables import schedule, set_aside
from taskdb.store.schedule.fire_pass import (
    ERROR_CHARACTERS,
    RETRY_SECONDS,
    DraftOf,
    Fired,
    Pass,
    Plan,
    full,
)
from taskdb.store.schedule.queries import ScheduleRows, fired_run
from taskdb.store.schedule.row import BY_HAND, NEVER_YEAR, entity
from taskdb.store.tree.join import Joins
from taskdb.store.tree.units import Units

SCHEDULE = "schedule"
_SEND_LOOK = 10
"""Due schedules among which a beat finds one to send; other beats may have the first ones."""
Send = Callable[[ScheduleEntity, datetime], None]
"""Publishes the message of a plain Celery task."""


class Firings:
    """The operations of a beat on due schedules."""

    def __init__(self, database: Database, aside: Aside, units: Units, joins: Joins) -> None:
        self._database = database
        self._aside = aside
        self._units = units
        self._joins = joins

    def fire_due(self, limit: int, draft_of: DraftOf) -> Fired:
        """Fire at most `limit` due schedules, and publish their tasks after the commit.

        A schedule that cannot fire stays due, gets the reason in `last_error`, and stops no other.
        """
        try:
            fired, count = self._fire(limit, draft_of)
        except Exception as error:
            if not is_of_a_row(error):
                raise
            # One of them cannot be read or written, so each gets its own transaction.
            due = self._due_ids(limit, has_message=False)
            each = self._aside.each(SCHEDULE, due, lambda one: self._fire(1, draft_of, only=one)[0])
            fired, count = _together(each), len(due)
        return fired if count < limit else full(fired)

    def _fire(self, limit: int, draft_of: DraftOf, *, only: str | None = None) -> tuple[Fired, int]:
        """Fire some schedules; returns how many were due."""
        with self._database.transaction() as connection:
            unit = self._units.over(connection)
            now = ScheduleRows(unit).now()
            found = _take(connection, limit, now, has_message=False, only=only)
            fired = Pass(unit, now).fire(found, draft_of) if found else Fired()
        self._joins.follow(unit.after)
        return fired, len(found)

    def _due_ids(self, limit: int, *, has_message: bool) -> list[str]:
        def read(connection: Connection) -> list[str]:
            now = ScheduleRows(self._units.over(connection)).now()
            statement = _due(limit, now, has_message=has_message)
            found = connection.execute(statement.with_only_columns(schedule.c.id))
            return [str(row.id) for row in found]

        return self._database.read(read)

    def send_due(self, send: Send) -> Fired:
        """Send the due messages of one schedule of a plain Celery task, if there is one.

        No transaction is open during `send`: the beat leases the schedule before, and records the
        sent due times after. Due times that the broker did not take are due again after some
        seconds. If the process dies in between, they are sent twice. Raises BrokerUnreachable; any
        other error of `send` concerns the schedule, which then cannot be fired.
        """
        for schedule_id in self._due_ids(_SEND_LOOK, has_message=True):
            done = self._aside.each(SCHEDULE, [schedule_id], lambda one: self._send(one, send))
            if not done:
                # It was set aside; the caller tries the next one at once.
                return Fired(is_full=True)
            if done[0] is not None:
                return done[0]
        return Fired()

    def _send(self, schedule_id: str, send: Send) -> Fired | None:
        """Send the due messages of this schedule; None if another beat has it."""
        leased = self._lease_message(schedule_id)
        if leased is None or isinstance(leased, Fired):
            return leased
        failure: Exception | None = None
        sent: list[datetime] = []
        try:
            for due in leased.due.fire:
                send(leased.schedule, due)
                sent.append(due)
        # The error concerns this schedule: its row gets it, and the others continue.
        except Exception as error:  # noqa: BLE001
            failure = error
        reason = self._note_sent(leased, sent, failure)
        if isinstance(failure, BrokerUnreachable):
            raise failure
        broken = {} if reason is None else {leased.schedule.id: reason}
        missed = leased.due.missed.number if leased.due.missed else 0
        return Fired(sent=len(sent), missed=missed, broken=broken, is_full=True)

    def _lease_message(self, schedule_id: str) -> Plan | Fired | None:
        """Lease a due schedule with a message; None if it is not due or another beat has it.

        Returns Fired for one that cannot be fired, or has nothing left to send.
        """
        with self._database.transaction() as connection:
            unit = self._units.over(connection)
            now = ScheduleRows(unit).now()
            found = _take(connection, 1, now, has_message=True, only=schedule_id)
            return Pass(unit, now).lease(found) if found else None

    def _note_sent(
        self, plan: Plan, sent: Sequence[datetime], failure: Exception | None
    ) -> str | None:
        """Record the sent due times and the next due time. Returns the reason of a failure."""
        with self._database.transaction() as connection:
            unit = self._units.over(connection)
            now = ScheduleRows(unit).now()
            place = schedule.c.id == plan.schedule.id
            coming = select(schedule.c.next_due_at).where(place).with_for_update()
            row = connection.execute(coming).first()
            # If a schedule was changed meanwhile, its new due time stays.
            is_same = row is not None and _coming(row[0]) == plan.schedule.next_due_at
            Pass(unit, now).note_sent(plan, sent, advances=is_same)
            if failure is None:
                return None
            kind = "" if isinstance(failure, TaskDBError) else f"{type(failure).__name__}: "
            reason = storable(f"{kind}{failure}", ERROR_CHARACTERS)
            # While the broker is not reachable, the pause of the loop counts.
            pause = 0.0 if isinstance(failure, BrokerUnreachable) else RETRY_SECONDS
            ScheduleRows(unit).refuse({plan.schedule.id: reason}, pause)
            return reason

    def fire_now(self, one: ScheduleEntity, draft: Draft, scope: Scope) -> str:
        """Create a task of a schedule at once, independent of its due times.

        Returns its id, or that of an open task with the same unique key. Raises InvalidInput for a
        tenant out of the scope.
        """
        scope.require(one.tenant)
        scope.require(draft.tenant)
        with self._database.transaction() as connection:
            unit = self._units.over(connection)
            # A beat that fires locks this row first, too, so the two never deadlock.
            place = schedule.c.id == one.id
            connection.execute(select(schedule.c.id).where(place).with_for_update())
            now = ScheduleRows(unit).now()
            run = {**fired_run(one.id, now, draft.id), "reason": BY_HAND}
            while ScheduleRows(unit).known_runs([run]):
                # The run of a due time already has this moment.
                now += timedelta(milliseconds=1)
                run["due_at"] = now
            plan = Plan(one, Due((now,), None, None), {now: draft}, [run])
            Pass(unit, now).write([plan])
        self._joins.follow(unit.after)
        return plan.last_task_id or draft.id

    def seconds_to_due(self, *, has_message: bool = False) -> float | None:
        """Seconds until a schedule is due or tried again; None where there is none.

        Schedules set aside do not count: a later pass tries them.
        """
        when = case(
            (schedule.c.retry_at > schedule.c.next_due_at, schedule.c.retry_at),
            else_=schedule.c.next_due_at,
        )

        def read(connection: Connection) -> float | None:
            now = ScheduleRows(self._units.over(connection)).now()
            soonest = select(func.min(when)).where(
                schedule.c.is_enabled, _has(has_message), _is_not_aside(now)
            )
            found = connection.execute(soonest).scalar()
            return None if found is None else max(0.0, (found - now).total_seconds())

        return self._database.read(read)


def _take(
    connection: Connection, limit: int, now: datetime, *, has_message: bool, only: str | None = None
) -> list[ScheduleEntity]:
    """Lock due schedules against other beats until the transaction ends, and return them.

    With `only`, return at most that schedule.
    """
    statement = _due(limit, now, has_message=has_message).with_for_update(skip_locked=True)
    if only is not None:
        statement = statement.where(schedule.c.id == only)
    return [entity(readable(row)) for row in connection.execute(statement).mappings()]


def _due(limit: int, now: datetime, *, has_message: bool) -> Select[Any]:
    """Select schedules that are due and not set aside.

    Schedules whose message could not be sent come last, so the others need not wait for them.
    """
    first = [schedule.c.last_error.is_not(None)] if has_message else []
    return (
        select(schedule)
        .where(schedule.c.is_enabled, _has(has_message))
        .where(or_(schedule.c.next_due_at.is_(None), schedule.c.next_due_at <= now))
        .where(or_(schedule.c.retry_at.is_(None), schedule.c.retry_at <= now))
        .where(_is_not_aside(now))
        .order_by(*first, schedule.c.next_due_at, schedule.c.id)
        .limit(limit)
    )


def _is_not_aside(now: datetime) -> ColumnElement[bool]:
    aside = select(set_aside.c.key).where(
        set_aside.c.loop == SCHEDULE, set_aside.c.next_try_at > now
    )
    return cast(schedule.c.id, Text).not_in(aside)


def _has(has_message: bool) -> ColumnElement[bool]:  # noqa: FBT001 - it completes a name
    return schedule.c.message.is_not(None) if has_message else schedule.c.message.is_(None)


def _coming(value: datetime | None) -> datetime | None:
    """The due time as the entity of a row has it."""
    return None if value is None or value.year >= NEVER_YEAR else value


def _together(many: Sequence[Fired]) -> Fired:
    return Fired(
        task_ids=tuple(task_id for one in many for task_id in one.task_ids),
        missed=sum(one.missed for one in many),
        broken={key: reason for one in many for key, reason in one.broken.items()},
        unused=tuple(draft for one in many for draft in one.unused),
        is_full=any(one.is_full for one in many),
    )
