"""Watching: raises and ends alarms about conditions that no event of a task shows.

The conditions: a schedule that missed due times, a worker that is not seen any more, a queue
without a consumer, a backlog that is too old. Each check reads only the oldest waiting tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    Connection,
    RowMapping,
    Text,
    and_,
    cast,
    exists,
    func,
    or_,
    select,
    text,
    update,
)

from taskdb.model.alarm.alarm import Alarm, AlarmSource, AlarmState
from taskdb.model.alarm.route import AlarmRules
from taskdb.store.engine.aside import Aside, is_of_a_row
from taskdb.store.engine.database import Database
from taskdb.store.engine.tables import alarm, alarm_cursor, schedule, schedule_run, worker
from taskdb.store.engine.types import as_moment, as_texts, moment
from taskdb.store.outgoing.alarm.announcement import ANNOUNCE, announce
from taskdb.store.outgoing.alarm.detection import take_cursor
from taskdb.store.outgoing.alarm.occurrence import (
    Cause,
    Observed,
    raises,
    severity_of,
    write_each,
    write_observed,
)
from taskdb.store.outgoing.alarm.row import is_live, policies
from taskdb.store.outgoing.transaction import ask, changing

WATCH = "watch"
ANY = "*"
MOST_WAITING = 20_000
"""The most waiting tasks that one check reads, oldest first."""
_BATCH = 500
_LOST_FOR = timedelta(days=1)
"""A worker that is lost for longer raises no alarm any more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The ages that raise alarms; keys of `backlog` are `queue:NAME`, `type:NAME` or `*`."""

    lease: timedelta
    unconsumed: timedelta
    backlog: Mapping[str, timedelta]


@dataclass(frozen=True, slots=True)
class Watched:
    """The number of conditions that hold, and of those that are over since the last check."""

    holding: int = 0
    over: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The tasks of a type that wait in a queue."""

    queue: str
    type: str
    since: datetime
    count: int


class Conditions:
    """Checks all conditions for a beat."""

    def __init__(self, database: Database, aside: Aside, rules: AlarmRules, limits: Limits) -> None:
        self._database = database
        self._aside = aside
        self._rules = rules
        self._limits = limits

    def watch(self) -> Watched:
        """Check once; does nothing while another process has the cursor."""
        try:
            return self._watch()[0]
        except Exception as error:
            if not is_of_a_row(error):
                raise
        watched, failed = self._watch(is_careful=True)
        for loop, key, reason in failed:
            self._aside.note(loop, key, reason)
        return watched

    def _watch(
        self, *, is_careful: bool = False
    ) -> tuple[Watched, list[tuple[str, str, Exception]]]:
        """Check once. A careful check also returns alarms that it could not write or announce."""
        failed: list[tuple[str, str, Exception]] = []
        with changing(self._database) as (connection, now):
            if take_cursor(connection, WATCH) is None:
                return Watched(), failed
            declared = policies(connection)
            missed = list(self._missed(connection, declared))
            lasting = [
                *self._lost(connection, now),
                *self._waiting_too_long(connection, now, declared),
            ]
            if is_careful:
                for one, error in write_each(connection, [*missed, *lasting], now):
                    failed.append((WATCH, one.cause.fingerprint, error))
            else:
                write_observed(connection, [*missed, *lasting], now)
            announced = announce(connection, self._rules, now, is_careful=is_careful)
            failed += [(ANNOUNCE, key, error) for key, error in announced.failed]
            over = self._end(connection, {one.cause.fingerprint for one in lasting}, now)
            place = alarm_cursor.c.name == WATCH
            connection.execute(update(alarm_cursor).where(place).values(moved_at=now))
        if not failed:
            # Each check writes all its observations, so rows set aside before have succeeded.
            self._aside.over(WATCH, 0.0)
        return Watched(len(missed) + len(lasting), over), failed

    # --- schedules ----------------------------------------------------------------------------

    def _missed(self, connection: Connection, declared: Mapping[str, Alarm]) -> Iterable[Observed]:
        """Missed due times; each is observed once."""
        statement = (
            select(schedule_run, schedule.c.name, schedule.c.type, schedule.c.tenant)
            .join(schedule, schedule.c.id == schedule_run.c.schedule_id)
            # Literals, as in the index; a parameter would not match it.
            .where(text("taskdb_schedule_run.outcome = 'missed' AND NOT is_reported"))
            .order_by(schedule_run.c.at)
            .limit(_BATCH)
        )
        found: dict[Cause, Observed] = {}
        for row in connection.execute(statement).mappings().all():
            place = and_(
                schedule_run.c.schedule_id == row["schedule_id"],
                schedule_run.c.due_at == row["due_at"],
            )
            connection.execute(update(schedule_run).where(place).values(is_reported=True))
            policy = declared.get(row["type"])
            source = AlarmSource.MISSED_SCHEDULE
            if not raises(policy, source, self._rules):
                continue
            # A schedule belongs to one tenant, and so does its alarm.
            cause = Cause(source, type=row["type"], place=row["name"], tenant=row["tenant"])
            at = row["at"]
            one = found.setdefault(cause, Observed(cause, severity_of(policy, source), at, at))
            one.count += row["number"]
            one.last_at = at
            last = row["last_due_at"] or row["due_at"]
            one.message = (
                f"schedule {row['name']!r} let {one.count:,} due times pass, the last of them"
                f" {last.isoformat(timespec='seconds')}: {row['reason'] or 'no beat came to them'}"
            )
            one.sample = {
                "tenant": row["tenant"],
                "scheduleId": str(row["schedule_id"]),
                "dueAt": last.isoformat(),
            }
        return found.values()

    # --- workers ------------------------------------------------------------------------------

    def _lost(self, connection: Connection, now: datetime) -> list[Observed]:
        """Workers that vanished without a stop, and that no newer boot has replaced."""
        if not raises(None, AlarmSource.LOST_WORKER, self._rules):
            return []
        newer = worker.alias("newer")
        seen = func.coalesce(worker.c.seen_at, worker.c.started_at)
        statement = (
            select(worker.c.id, worker.c.name, worker.c.host, worker.c.pid, seen.label("at"))
            .where(
                worker.c.stopped_at.is_(None),
                seen < now - self._limits.lease,
                seen > now - _LOST_FOR,
                ~exists().where(
                    newer.c.name == worker.c.name, newer.c.started_at > worker.c.started_at
                ),
            )
            .order_by(worker.c.started_at)
            .limit(_BATCH)
        )
        source = AlarmSource.LOST_WORKER
        found = []
        for row in connection.execute(statement).mappings():
            at = moment(as_moment(row["at"]))
            one = Observed(
                Cause(source, place=row["name"]),
                severity_of(None, source),
                at,
                now,
                evidence=(row["id"],),
            )
            one.message = (
                f"worker {row['name']} (process {row['pid']} on {row['host']}) was last seen"
                f" {at.isoformat(timespec='seconds')} and did not stop normally"
            )
            found.append(one)
        return found

    # --- waiting tasks ------------------------------------------------------------------------

    def _waiting_too_long(
        self, connection: Connection, now: datetime, declared: Mapping[str, Alarm]
    ) -> list[Observed]:
        limits = dict(self._limits.backlog)
        own = {f"type:{name}": one.backlog for name, one in declared.items() if one.backlog}
        limits |= own
        youngest = min([self._limits.unconsumed, *limits.values()])
        waiting = self._waiting(connection, youngest)
        return [
            *self._unconsumed(connection, now, waiting),
            *self._backlog(now, waiting, limits, declared),
        ]

    def _waiting(self, connection: Connection, age: timedelta) -> list[_Waiting]:
        """Count the oldest tasks that wait for longer than `age`, by queue and type."""
        given = {"age": age.total_seconds(), "most": MOST_WAITING}
        found = ask(self._database, connection, "waiting", **given)
        return [
            _Waiting(row["queue"], row["type"], moment(row["since"]), row["number"])
            for row in found
        ]

    def _unconsumed(
        self, connection: Connection, now: datetime, waiting: Sequence[_Waiting]
    ) -> Iterable[Observed]:
        source = AlarmSource.NO_CONSUMER
        edge = now - self._limits.unconsumed
        late = [one for one in waiting if one.since < edge]
        if not late or not raises(None, source, self._rules):
            return []
        live = select(cast(worker.c.queues, Text).label("queues")).where(
            worker.c.stopped_at.is_(None), worker.c.seen_at >= now - self._limits.lease
        )
        served = {queue for row in connection.execute(live) for queue in as_texts(row.queues)}
        by_queue: dict[str, list[_Waiting]] = defaultdict(list)
        for one in late:
            if one.queue not in served:
                by_queue[one.queue].append(one)
        return [
            self._lasting(
                Cause(source, place=queue),
                None,
                now,
                ones,
                f"{_number(ones, f'in queue {queue!r}')} since"
                f" {_since(ones).isoformat(timespec='seconds')}, and no live worker takes from it",
            )
            for queue, ones in by_queue.items()
        ]

    def _backlog(
        self,
        now: datetime,
        waiting: Sequence[_Waiting],
        limits: Mapping[str, timedelta],
        declared: Mapping[str, Alarm],
    ) -> Iterable[Observed]:
        source = AlarmSource.BACKLOG
        groups: dict[str, list[_Waiting]] = defaultdict(list)
        for one in waiting:
            for name in (f"queue:{one.queue}", f"type:{one.type}"):
                if name in limits:
                    groups[name].append(one)
            if ANY in limits and f"queue:{one.queue}" not in limits:
                groups[f"queue:{one.queue}"].append(one)
        found = []
        for name, ones in groups.items():
            target, _, subject = name.partition(":")
            policy = declared.get(subject) if target == "type" else None
            limit = limits.get(name) or limits[ANY]
            if _since(ones) >= now - limit or not raises(policy, source, self._rules):
                continue
            cause = Cause(source, type=subject if target == "type" else "", place=name)
            said = (
                f"{_number(ones, f'of {target} {subject!r}')}, the oldest since"
                f" {_since(ones).isoformat(timespec='seconds')}; {limit} may pass"
            )
            found.append(self._lasting(cause, policy, now, ones, said))
        return found

    def _lasting(
        self,
        cause: Cause,
        policy: Alarm | None,
        now: datetime,
        ones: Sequence[_Waiting],
        message: str,
    ) -> Observed:
        severity = severity_of(policy, cause.source)
        one = Observed(cause, severity, min(_since(ones), now), now, evidence=(cause.place,))
        one.message = message
        return one

    # --- conditions that are over -------------------------------------------------------------

    def _end(self, connection: Connection, holding: set[str], now: datetime) -> int:
        """Resolve conditions that no longer hold, once their messages are decided on."""
        lasting = [str(one) for one in AlarmSource if one.is_condition]
        settled = or_(
            alarm.c.state.in_([AlarmState.ACKNOWLEDGED.value, AlarmState.SNOOZED.value]),
            alarm.c.count == alarm.c.reported,
            alarm.c.is_routed.is_(False),
        )
        statement = select(alarm).where(is_live(), alarm.c.source.in_(lasting), settled)
        live = connection.execute(statement.with_for_update(skip_locked=True)).mappings().all()
        over = [
            row["id"]
            for row in live
            if row["fingerprint"] not in holding and self._is_over(connection, row)
        ]
        values = {
            "state": str(AlarmState.RESOLVED),
            "resolved_at": now,
            "snoozed_until": None,
            "evidence": [],
            "acted_by": None,
            "acted_for": None,
            "acted_at": now,
            "note": "it is over",
        }
        if over:
            connection.execute(update(alarm).where(alarm.c.id.in_(over)).values(values))
        return len(over)

    def _is_over(self, connection: Connection, row: RowMapping) -> bool:
        """Whether a condition is over: a schedule has fired since, or is disabled or removed."""
        if row["source"] != AlarmSource.MISSED_SCHEDULE:
            return True
        schedule_id = row["sample"].get("scheduleId", "")
        due_at = as_moment(row["sample"].get("dueAt"))
        alive = select(schedule.c.id).where(
            schedule.c.id == schedule_id, schedule.c.is_enabled.is_(True)
        )
        if connection.execute(alive).first() is None or due_at is None:
            return True
        fired = select(schedule_run.c.due_at).where(
            schedule_run.c.schedule_id == schedule_id,
            schedule_run.c.outcome == "fired",
            schedule_run.c.due_at >= due_at,
        )
        return connection.execute(fired.limit(1)).first() is not None


def _since(ones: Iterable[_Waiting]) -> datetime:
    return min(one.since for one in ones)


def _number(ones: Iterable[_Waiting], place: str) -> str:
    """`1 task in queue 'mail' waits`, `at least 10,000 tasks in queue 'mail' wait`."""
    count = sum(one.count for one in ones)
    if count == 1:
        return f"1 task {place} waits"
    return f"{'' if count < MOST_WAITING else 'at least '}{count:,} tasks {place} wait"
