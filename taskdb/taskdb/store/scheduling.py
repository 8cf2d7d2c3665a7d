"""Firing schedules: the run of a due time, its task and the next due time, in one transaction.

Any number of beats may do it at once: each takes rows that no other has locked, and a due time that
has a row in `schedule_run` already is not fired, whoever asks and whatever the clock says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, case, cast, func, or_, select

from taskdb.due import Due, due_now
from taskdb.errors import BrokerUnreachable, TaskDBError
from taskdb.schedule import Overlap, RunOutcome, ScheduleEntity
from taskdb.status import TaskStatus
from taskdb.store.aside import is_of_a_row
from taskdb.store.contract import Draft
from taskdb.store.deciding import waiting_parents
from taskdb.store.encode import storable
from taskdb.store.firing import FiringUnit, Run, fired_run, key_of, missed_run
from taskdb.store.part import spelled_reason
from taskdb.store.schedule_rows import NEVER, NEVER_YEAR, entity
from taskdb.store.schedules import Schedules
from taskdb.store.tables import schedule, set_aside

SCHEDULE = "schedule"
_SEND_LOOK = 10
"""Due schedules of which one is sent; other beats may have those before it."""
RETRY_SECONDS = 5.0
"""A schedule that could not be fired is tried again after this; what was due is not forgotten."""
_ERROR_CHARACTERS = 2_000
_CANCELED = spelled_reason("its schedule was due again")

SEND_LEASE = timedelta(seconds=60)
"""A beat that sends keeps others from the schedule for so long; one that died is made up for."""

DraftOf = Callable[[ScheduleEntity, datetime, datetime], Draft]
"""Makes the task of a due time at a moment; raises TaskDBError where it cannot be fired."""
Send = Callable[[ScheduleEntity, datetime], None]
"""Publishes the message of a plain Celery task."""


@dataclass(frozen=True, slots=True)
class Fired:
    """What one pass has done.

    `broken`: schedules by id that could not be fired, and why; `unused`: drafts that did not
    become tasks; `is_full`: there may be more that is due.
    """

    task_ids: tuple[str, ...] = ()
    sent: int = 0
    missed: int = 0
    broken: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[Draft, ...] = ()
    is_full: bool = False


class Scheduling(Schedules):
    """The verbs of a beat about schedules."""

    def fire_due(self, limit: int, draft_of: DraftOf) -> Fired:
        """Fire what is due, so many schedules at most, and publish after the commit.

        One that cannot be fired keeps what was due, says why in `last_error`, and stops no other.
        """
        try:
            fired, count = self._fire(limit, draft_of)
        except Exception as error:
            if not is_of_a_row(error):
                raise
            # Each in a transaction of its own: one of them cannot be read or written.
            due = self._due_ids(limit, has_message=False)
            each = self.aside.each(SCHEDULE, due, lambda one: self._fire(1, draft_of, only=one)[0])
            fired, count = _together(each), len(due)
        return fired if count < limit else _full(fired)

    def _fire(self, limit: int, draft_of: DraftOf, *, only: str | None = None) -> tuple[Fired, int]:
        """Fire some schedules; returns how many were due."""
        with self.database.transaction() as connection:
            unit = FiringUnit(self.database, connection, self.grace)
            now = unit.now()
            found = _take(connection, limit, now, has_message=False, only=only)
            fired = _Pass(unit, now).fire(found, draft_of) if found else Fired()
        self.follow(unit.after)
        return fired, len(found)

    def _due_ids(self, limit: int, *, has_message: bool) -> list[str]:
        def read(connection: Connection) -> list[str]:
            now = FiringUnit(self.database, connection, self.grace).now()
            statement = _due(limit, now, has_message=has_message)
            found = connection.execute(statement.with_only_columns(schedule.c.id))
            return [str(row.id) for row in found]

        return self.database.read(read)

    def send_due(self, send: Send) -> Fired:
        """Send what is due of one schedule of a plain Celery task, where there is one.

        No transaction is open while the broker is spoken to: the schedule is leased before, and
        what was sent is written behind it. What the broker did not take is due again after some
        seconds; a process that dies in between sends it twice. Raises BrokerUnreachable; any other
        error of `send` is that of the schedule, which then cannot be fired.
        """
        for schedule_id in self._due_ids(_SEND_LOOK, has_message=True):
            done = self.aside.each(SCHEDULE, [schedule_id], lambda one: self._send(one, send))
            if not done:
                # It was set aside; the next one follows at once.
                return Fired(is_full=True)
            if done[0] is not None:
                return done[0]
        return Fired()

    def _send(self, schedule_id: str, send: Send) -> Fired | None:
        """Send what is due of this schedule; None where another beat has it."""
        leased = self._lease_message(schedule_id)
        if leased is None or isinstance(leased, Fired):
            return leased
        failure: Exception | None = None
        sent: list[datetime] = []
        try:
            for due in leased.due.fire:
                send(leased.schedule, due)
                sent.append(due)
        # It is the schedule's: kept in its row, and the other ones go on.
        except Exception as error:  # noqa: BLE001
            failure = error
        reason = self._note_sent(leased, sent, failure)
        if isinstance(failure, BrokerUnreachable):
            raise failure
        broken = {} if reason is None else {leased.schedule.id: reason}
        missed = leased.due.missed.number if leased.due.missed else 0
        return Fired(sent=len(sent), missed=missed, broken=broken, is_full=True)

    def _lease_message(self, schedule_id: str) -> _Plan | Fired | None:
        """Keep a schedule with a message that is due from others; None where it is not due.

        One that cannot be fired, or has nothing left to send, is dealt with at once.
        """
        with self.database.transaction() as connection:
            unit = FiringUnit(self.database, connection, self.grace)
            now = unit.now()
            found = _take(connection, 1, now, has_message=True, only=schedule_id)
            return _Pass(unit, now).lease(found) if found else None

    def _note_sent(
        self, plan: _Plan, sent: Sequence[datetime], failure: Exception | None
    ) -> str | None:
        """Write which due times were sent, and when the schedule is due next; why it failed."""
        with self.database.transaction() as connection:
            unit = FiringUnit(self.database, connection, self.grace)
            now = unit.now()
            place = schedule.c.id == plan.schedule.id
            coming = select(schedule.c.next_due_at).where(place).with_for_update()
            row = connection.execute(coming).first()
            # One that was changed meanwhile is due when the change says.
            is_same = row is not None and _coming(row[0]) == plan.schedule.next_due_at
            _Pass(unit, now).note_sent(plan, sent, advances=is_same)
            if failure is None:
                return None
            kind = "" if isinstance(failure, TaskDBError) else f"{type(failure).__name__}: "
            reason = storable(f"{kind}{failure}", _ERROR_CHARACTERS)
            # While no broker answers, it is the pause of the loop that counts.
            pause = 0.0 if isinstance(failure, BrokerUnreachable) else RETRY_SECONDS
            unit.refuse({plan.schedule.id: reason}, pause)
            return reason

    def fire_now(self, one: ScheduleEntity, draft: Draft) -> str:
        """Make a task of a schedule at once, beside its due times.

        Answers its id, or that of an open task with its unique key.
        """
        with self.database.transaction() as connection:
            unit = FiringUnit(self.database, connection, self.grace)
            # First of all, as a beat that fires it does: no two wait for each other.
            place = schedule.c.id == one.id
            connection.execute(select(schedule.c.id).where(place).with_for_update())
            now = unit.now()
            run = {**fired_run(one.id, now, draft.id), "reason": "by hand"}
            while unit.known_runs([run]):
                # A due time has this moment; it stays as it is.
                now += timedelta(milliseconds=1)
                run["due_at"] = now
            plan = _Plan(one, Due((now,), None, None), {now: draft}, [run])
            _Pass(unit, now).write([plan])
        self.follow(unit.after)
        return plan.last_task_id or draft.id

    def seconds_to_due(self, *, has_message: bool = False) -> float | None:
        """How long until a schedule is due or tried again; None where there is none.

        One that is set aside is tried with the pass that comes then.
        """
        when = case(
            (schedule.c.retry_at > schedule.c.next_due_at, schedule.c.retry_at),
            else_=schedule.c.next_due_at,
        )

        def read(connection: Connection) -> float | None:
            now = FiringUnit(self.database, connection, self.grace).now()
            soonest = select(func.min(when)).where(
                schedule.c.is_enabled, _has(has_message), _is_not_aside(now)
            )
            found = connection.execute(soonest).scalar()
            return None if found is None else max(0.0, (found - now).total_seconds())

        return self.database.read(read)


@dataclass(slots=True)
class _Plan:
    """What becomes of one schedule in a pass: its runs, and a draft for each that gets a task."""

    schedule: ScheduleEntity
    due: Due
    drafts: dict[datetime, Draft] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    last_task_id: str | None = None


class _Pass:
    """One pass over some schedules, each locked by this transaction."""

    def __init__(self, unit: FiringUnit, now: datetime) -> None:
        self._unit = unit
        self._now = now
        self._broken: dict[str, str] = {}
        self._unused: list[Draft] = []

    def fire(self, found: Sequence[ScheduleEntity], draft_of: DraftOf) -> Fired:
        """Make the tasks of what is due."""
        plans = self._plans(found, draft_of)
        self._obey_overlap(plans)
        task_ids = self.write(plans)
        return self._fired(plans, task_ids=tuple(task_ids))

    def lease(self, found: Sequence[ScheduleEntity]) -> _Plan | Fired:
        """Decide what is to be sent of one schedule, and keep it from others meanwhile."""
        plans = self._plans(found, None)
        for plan in plans:
            known = self._unit.known_runs(plan.runs)
            fresh = tuple(run["due_at"] for run in plan.runs if key_of(run) not in known)
            plan.due = replace(plan.due, fire=fresh)
            if fresh:
                self._unit.lease(plan.schedule.id, SEND_LEASE)
                return plan
            plan.runs = []
        self._add_runs(plans)
        self._advance(plans)
        return _full(self._fired(plans))

    def note_sent(self, plan: _Plan, sent: Sequence[datetime], *, advances: bool) -> None:
        """Write what was sent; what was not is due next."""
        plan.runs = [fired_run(plan.schedule.id, due, None) for due in sent]
        self._add_runs([plan])
        unsent = [due for due in plan.due.fire if due not in sent]
        coming = (unsent[0] if unsent else plan.due.next) if advances else None
        plan.due = replace(plan.due, next=coming)
        self._advance([plan])

    def write(self, plans: Sequence[_Plan]) -> list[str]:
        """The runs that are new, their tasks, and the next due times; answers the new tasks."""
        new = self._add_runs(plans)
        made: list[tuple[_Plan, Run, Draft]] = []
        for plan in plans:
            for run in plan.runs:
                draft = plan.drafts.get(run["due_at"])
                if draft is not None and key_of(run) in new:
                    made.append((plan, run, draft))
                elif draft is not None:
                    self._unused.append(draft)
        task_ids = self._create(made)
        self._advance(plans)
        return task_ids

    def _plans(self, found: Sequence[ScheduleEntity], draft_of: DraftOf | None) -> list[_Plan]:
        plans = []
        for one in found:
            try:
                plans.append(self._plan(one, draft_of))
            except TaskDBError as error:
                self._broken[one.id] = storable(str(error), _ERROR_CHARACTERS)
            # Whatever a row holds that somebody wrote by hand: the others go on.
            except Exception as error:  # noqa: BLE001
                reason = f"{type(error).__name__}: {error}"
                self._broken[one.id] = storable(reason, _ERROR_CHARACTERS)
        if self._broken:
            self._unit.refuse(self._broken, RETRY_SECONDS)
        return plans

    def _plan(self, one: ScheduleEntity, draft_of: DraftOf | None) -> _Plan:
        faults = one.timetable.check()
        if faults:
            raise TaskDBError("; ".join(str(fault) for fault in faults))
        first = one.next_due_at or one.timetable.first(self._now)
        if first is None or first > self._now:
            return _Plan(one, Due((), None, first or NEVER))
        due = due_now(one, first, self._now)
        due = replace(due, next=due.next or NEVER)
        drafts = {} if draft_of is None else {at: draft_of(one, at, self._now) for at in due.fire}
        ids = {at: draft.id for at, draft in drafts.items()}
        return _Plan(one, due, drafts, [fired_run(one.id, at, ids.get(at)) for at in due.fire])

    def _obey_overlap(self, plans: Sequence[_Plan]) -> None:
        """Leave out, or cancel, where the last task of a schedule is not over."""
        asking = [plan for plan in plans if plan.runs and plan.schedule.overlap != Overlap.ALLOW]
        if not asking:
            return
        known = self._unit.known_runs([run for plan in asking for run in plan.runs])
        is_open = self._unit.open_among(
            plan.schedule.last_task_id for plan in asking if plan.schedule.last_task_id is not None
        )
        canceled: list[str] = []
        for plan in asking:
            fresh = [run for run in plan.runs if key_of(run) not in known]
            running = plan.schedule.last_task_id
            if running not in is_open:
                running = None
            if plan.schedule.overlap is Overlap.SKIP:
                kept = fresh[:1] if running is None else []
            else:
                # Of several due times all but the last would be canceled at once.
                kept = fresh[-1:]
                canceled += [running] if running is not None and fresh else []
            self._keep(plan, kept, running)
        if canceled:
            moved = self._unit.move_all(self._unit.moves.cancel, canceled, detail=_CANCELED)
            # Under its own lock each sees that it shall end, and stops what is below it.
            self._unit.after.joins.extend(waiting_parents(moved))

    def _keep(self, plan: _Plan, kept: Sequence[Run], running: str | None) -> None:
        other = running or (kept[0]["task_id"] if kept else None)
        skipped = {
            "outcome": RunOutcome.SKIPPED.value,
            "task_id": None,
            "reason": f"overlap policy {plan.schedule.overlap}: task {other} is not over",
        }
        for place, run in enumerate(plan.runs):
            if run not in kept:
                plan.runs[place] = {**run, **skipped}
                draft = plan.drafts.pop(run["due_at"], None)
                self._unused += [] if draft is None else [draft]

    def _add_runs(self, plans: Sequence[_Plan]) -> set[tuple[str, datetime]]:
        runs = [run for plan in plans for run in plan.runs]
        runs += [
            missed_run(plan.schedule.id, plan.due.missed)
            for plan in plans
            if plan.due.missed is not None
        ]
        return self._unit.add_runs(runs) if runs else set()

    def _create(self, made: Sequence[tuple[_Plan, Run, Draft]]) -> list[str]:
        if not made:
            return []
        created = self._unit.create([draft for _, _, draft in made], on_conflict="new")
        new = []
        for (plan, run, draft), one in zip(made, created, strict=True):
            plan.last_task_id = one.id
            if one.id != draft.id:
                self._unused.append(draft)
                reason = "the task with its unique key is not over"
                self._unit.skip_run(key_of(run), one.id, reason)
                continue
            new.append(one.id)
            if one.status is TaskStatus.CREATED:
                # What runs later is the relay's to publish.
                self._unit.after.ids.append(one.id)
        return new

    def _advance(self, plans: Sequence[_Plan]) -> None:
        rows = [
            {
                "id": plan.schedule.id,
                "next_due_at": plan.due.next,
                "last_due_at": max((run["due_at"] for run in plan.runs), default=None),
                "last_task_id": plan.last_task_id,
            }
            for plan in plans
        ]
        if rows:
            self._unit.advance(rows)

    def _fired(
        self, plans: Sequence[_Plan], *, task_ids: tuple[str, ...] = (), sent: int = 0
    ) -> Fired:
        missed = sum(plan.due.missed.number for plan in plans if plan.due.missed)
        # One with very many due times is not done with all of them.
        is_behind = any(plan.due.next and plan.due.next <= self._now for plan in plans)
        return Fired(
            task_ids, sent, missed, dict(self._broken), tuple(self._unused), is_full=is_behind
        )


def _take(
    connection: Connection,
    limit: int,
    now: datetime,
    *,
    has_message: bool,
    only: str | None = None,
) -> list[ScheduleEntity]:
    """Schedules that are due, kept from every other beat until the transaction ends.

    With `only` this one, where it still is.
    """
    statement = _due(limit, now, has_message=has_message).with_for_update(skip_locked=True)
    if only is not None:
        statement = statement.where(schedule.c.id == only)
    return [entity(row) for row in connection.execute(statement).mappings()]


def _due(limit: int, now: datetime, *, has_message: bool) -> Select[Any]:
    """Schedules that are due and not set aside.

    One whose message could not be sent comes after the others, and so keeps none of them waiting.
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
    """As the entity of a row has it."""
    return None if value is None or value.year >= NEVER_YEAR else value


def _together(many: Sequence[Fired]) -> Fired:
    return Fired(
        task_ids=tuple(task_id for one in many for task_id in one.task_ids),
        missed=sum(one.missed for one in many),
        broken={key: reason for one in many for key, reason in one.broken.items()},
        unused=tuple(draft for one in many for draft in one.unused),
        is_full=any(one.is_full for one in many),
    )


def _full(fired: Fired) -> Fired:
    return replace(fired, is_full=True)
