"""Schedules as rows: made, declared, listed, paused, removed. `scheduling` fires them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, select, update
from uuid_utils.compat import uuid7

from taskdb.errors import Fault, InvalidInput, ScheduleExists, ScheduleNotFound
from taskdb.schedule import (
    SUBJECT,
    Misfire,
    Origin,
    Overlap,
    RunOutcome,
    Schedule,
    ScheduleEntity,
    ScheduleRun,
)
from taskdb.store.contract import EVERYONE, Scope
from taskdb.store.firing import FiringUnit
from taskdb.store.joining import Joining
from taskdb.store.part import is_id
from taskdb.store.rows import moment
from taskdb.store.tables import as_moment, schedule, schedule_run

NEVER_YEAR = 9999
"""The year of a `next_due_at` that does not come."""
NEVER = datetime.fromisoformat("9999-01-01T00:00:00+00:00")
_TIMETABLE = ("kind", "cron", "interval_seconds", "once_at", "timezone", "starts_at", "ends_at")


@dataclass(frozen=True, slots=True)
class Definition:
    """What a schedule is about: how it recurs, and what is submitted."""

    name: str
    tenant: str
    type: str
    input: Any
    schedule: Schedule
    origin: Origin = Origin.PERSON
    message: Mapping[str, Any] | None = None
    created_by: str | None = None

    def columns(self) -> dict[str, Any]:
        """The columns that say so."""
        one = self.schedule
        return {
            "type": self.type,
            "input": self.input,
            "kind": one.kind,
            "cron": one.cron,
            "interval_seconds": _seconds(one.every),
            "once_at": one.at,
            "timezone": one.timezone,
            "queue": one.queue,
            "priority": one.priority,
            "jitter_seconds": _seconds(one.jitter),
            "starts_at": one.starts_at,
            "ends_at": one.ends_at,
            "misfire": str(one.misfire),
            "misfire_grace_seconds": _seconds(one.misfire_grace),
            "misfire_bound": one.misfire_bound,
            "overlap": str(one.overlap),
            "origin": str(self.origin),
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Synced:
    """What a declaration has changed; `taken` are names that someone else's schedule has."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()


class Schedules(Joining):
    """The verbs of schedule rows; each keeps to the tenants of a scope."""

    def add_schedule(self, definition: Definition, *, replace: bool = False) -> ScheduleEntity:
        """Write a schedule; with `replace` over a person's one of the same name.

        Raises ScheduleExists.
        """
        with self._changing(alone=True) as (connection, now):
            found = self._named(connection, definition.tenant, definition.name)
            if found is None:
                schedule_id = _insert(connection, definition, now)
            elif not replace or found["origin"] != Origin.PERSON:
                raise ScheduleExists(definition.name, found["origin"])
            else:
                schedule_id = found["id"]
                _change(connection, found, definition, now)
                is_enabled = definition.schedule.is_enabled
                _write(connection, schedule_id, is_enabled=is_enabled)
                if is_enabled and not found["is_enabled"]:
                    self._go_on(connection, schedule_id, now)
            return _one(connection, schedule.c.id == schedule_id)

    def get_schedule(
        self, reference: str, scope: Scope = EVERYONE, tenant: str | None = None
    ) -> ScheduleEntity:
        """The schedule of this name or id; raises ScheduleNotFound, InvalidInput.

        A name that schedules of several tenants have needs the tenant beside it.
        """
        return self.database.read(lambda one: _find(one, reference, scope, tenant))

    def list_schedules(
        self, scope: Scope = EVERYONE, *, tenant: str | None = None, origin: str | None = None
    ) -> list[ScheduleEntity]:
        """Every schedule, by tenant and name."""
        statement = select(schedule).order_by(schedule.c.tenant, schedule.c.name)
        statement = statement.where(*_within(scope, tenant))
        if origin is not None:
            statement = statement.where(schedule.c.origin == origin)
        return self.database.read(
            lambda one: [entity(row) for row in one.execute(statement).mappings()]
        )

    def schedule_runs(
        self, schedule_id: str, limit: int, scope: Scope = EVERYONE
    ) -> list[ScheduleRun]:
        """What became of its due times, the latest first; raises ScheduleNotFound."""
        statement = (
            select(schedule_run)
            .where(schedule_run.c.schedule_id == schedule_id)
            .order_by(schedule_run.c.due_at.desc())
            .limit(limit)
        )

        def read(connection: Connection) -> list[ScheduleRun]:
            _find(connection, schedule_id, scope, None)
            return [_run(row) for row in connection.execute(statement).mappings()]

        return self.database.read(read)

    def pause_schedule(self, schedule_id: str, scope: Scope = EVERYONE) -> None:
        """Let it fire no more; nothing changes for one that is paused. Raises ScheduleNotFound."""
        with self._changing() as (connection, now):
            _find(connection, schedule_id, scope, None)
            _write(connection, schedule_id, is_enabled=False, updated_at=now, last_error=None)

    def resume_schedule(self, schedule_id: str, scope: Scope = EVERYONE) -> None:
        """Let it fire again from now on: what was due while it was paused does not count.

        Raises ScheduleNotFound.
        """
        with self._changing() as (connection, now):
            _find(connection, schedule_id, scope, None)
            found = _one(connection, schedule.c.id == schedule_id, locked=True)
            if found.is_enabled:
                _write(connection, schedule_id, retry_at=None, last_error=None)
                return
            self._go_on(connection, schedule_id, now)

    def remove_schedule(self, schedule_id: str, scope: Scope = EVERYONE) -> None:
        """Delete it; its tasks and its runs stay. Raises ScheduleNotFound."""
        with self._changing() as (connection, _now):
            _find(connection, schedule_id, scope, None)
            connection.execute(delete(schedule).where(schedule.c.id == schedule_id))

    def sync_schedules(
        self, origin: Origin, declared: Sequence[Definition], *, removes: bool = True
    ) -> Synced:
        """Make the schedules of one origin what is declared.

        Those of others are left alone, also one of the same name; whether one is paused stays as
        it is. With `removes` those that are not declared any more are deleted.
        """
        added: list[str] = []
        changed: list[str] = []
        taken: list[str] = []
        kept: set[str] = set()
        with self._changing(alone=True) as (connection, now):
            for one in declared:
                found = self._named(connection, one.tenant, one.name)
                if found is None:
                    kept.add(_insert(connection, one, now))
                    added.append(one.name)
                elif found["origin"] != origin:
                    taken.append(one.name)
                else:
                    kept.add(found["id"])
                    if _change(connection, found, one, now):
                        changed.append(one.name)
            removed = self._remove_others(connection, origin, kept) if removes else []
        return Synced(tuple(added), tuple(changed), tuple(removed), tuple(taken))

    def now(self) -> datetime:
        """The moment of the store's clock."""
        with self._changing() as (_connection, now):
            return now

    def _go_on(self, connection: Connection, schedule_id: str, now: datetime) -> None:
        """Due again from now on."""
        found = _one(connection, schedule.c.id == schedule_id)
        coming = found.timetable.next(now) or NEVER
        _write(
            connection,
            schedule_id,
            is_enabled=True,
            next_due_at=coming,
            retry_at=None,
            last_error=None,
            updated_at=now,
        )

    def _remove_others(
        self, connection: Connection, origin: Origin, kept: Iterable[str]
    ) -> list[str]:
        gone = (schedule.c.origin == str(origin), schedule.c.id.not_in(list(kept)))
        statement = delete(schedule).where(*gone).returning(schedule.c.name)
        return [row.name for row in connection.execute(statement)]

    def _named(self, connection: Connection, tenant: str, name: str) -> RowMapping | None:
        place = (schedule.c.tenant == tenant, schedule.c.name == name)
        statement = select(schedule).where(*place).with_for_update()
        return connection.execute(statement).mappings().first()

    @contextmanager
    def _changing(self, *, alone: bool = False) -> Iterator[tuple[Connection, datetime]]:
        """A transaction, and its moment; `alone` keeps others from making schedules meanwhile."""
        with self.database.transaction() as connection:
            if alone and self.database.dialect.name == "postgresql":
                connection.exec_driver_sql("LOCK TABLE schedule IN SHARE ROW EXCLUSIVE MODE")
            yield connection, self._moment(connection)

    def _moment(self, connection: Connection) -> datetime:
        return FiringUnit(self.database, connection, self.grace).now()


def entity(row: RowMapping) -> ScheduleEntity:
    """The schedule of a whole row."""
    coming = row["next_due_at"]
    is_coming = row["is_enabled"] and coming is not None and coming.year < NEVER_YEAR
    return ScheduleEntity(
        id=str(row["id"]),
        name=row["name"],
        tenant=row["tenant"],
        type=row["type"],
        input=row["input"],
        kind=row["kind"],
        cron=row["cron"],
        every=_duration(row["interval_seconds"]),
        at=row["once_at"],
        timezone=row["timezone"],
        queue=row["queue"],
        priority=row["priority"],
        jitter=timedelta(seconds=row["jitter_seconds"]),
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        is_enabled=bool(row["is_enabled"]),
        misfire=Misfire(row["misfire"]),
        misfire_grace=timedelta(seconds=row["misfire_grace_seconds"]),
        misfire_bound=row["misfire_bound"],
        overlap=Overlap(row["overlap"]),
        origin=Origin(row["origin"]),
        message=row["message"],
        next_due_at=coming if is_coming else None,
        last_due_at=row["last_due_at"],
        last_task_id=row["last_task_id"],
        last_error=row["last_error"],
        created_by=row["created_by"],
        created_at=moment(row["created_at"]),
        updated_at=moment(row["updated_at"]),
        version=row["version"],
    )


def _run(row: RowMapping) -> ScheduleRun:
    return ScheduleRun(
        due_at=moment(row["due_at"]),
        outcome=RunOutcome(row["outcome"]),
        task_id=row["task_id"],
        reason=row["reason"],
        number=row["number"],
        last_due_at=as_moment(row["last_due_at"]),
        at=moment(row["at"]),
    )


def _insert(connection: Connection, one: Definition, now: datetime) -> str:
    schedule_id = str(uuid7())
    values = {
        "id": schedule_id,
        "name": one.name,
        "tenant": one.tenant,
        "is_enabled": one.schedule.is_enabled,
        "next_due_at": one.schedule.timetable(now).first(now) or NEVER,
        "created_by": one.created_by,
        "created_at": now,
        "updated_at": now,
        **one.columns(),
    }
    connection.execute(insert(schedule).values(values))
    return schedule_id


def _change(connection: Connection, found: RowMapping, one: Definition, now: datetime) -> bool:
    """Write a definition over a row; answers whether it was another one."""
    values = one.columns()
    if all(found[name] == value for name, value in values.items()):
        return False
    changes = {**values, "updated_at": now, "version": found["version"] + 1}
    changes |= {"last_error": None, "retry_at": None}
    if any(found[name] != values[name] for name in _TIMETABLE):
        anchor = moment(found["created_at"])
        changes["next_due_at"] = one.schedule.timetable(anchor).first(now) or NEVER
    _write(connection, found["id"], **changes)
    return True


def _write(connection: Connection, schedule_id: str, **values: Any) -> None:
    connection.execute(update(schedule).where(schedule.c.id == schedule_id).values(values))


def _one(
    connection: Connection, place: ColumnElement[bool], *, locked: bool = False
) -> ScheduleEntity:
    statement = select(schedule).where(place)
    found = connection.execute(statement.with_for_update() if locked else statement)
    return entity(found.mappings().one())


def _find(
    connection: Connection, reference: str, scope: Scope, tenant: str | None
) -> ScheduleEntity:
    place = schedule.c.name == reference
    if is_id(reference):
        place |= schedule.c.id == reference
    statement = select(schedule).where(place, *_within(scope, tenant)).order_by(schedule.c.tenant)
    found = connection.execute(statement).mappings().all()
    if not found:
        raise ScheduleNotFound(reference)
    if len(found) > 1:
        tenants = ", ".join(repr(row["tenant"]) for row in found)
        advice = f"schedules of several tenants are named {reference!r} ({tenants}): name one"
        raise InvalidInput(SUBJECT, [Fault("tenant", advice)])
    return entity(found[0])


def _within(scope: Scope, tenant: str | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if scope.tenants is not None:
        found.append(schedule.c.tenant.in_(scope.tenants))
    if tenant is not None:
        found.append(schedule.c.tenant == tenant)
    return found


def _seconds(duration: timedelta | float | None) -> float | None:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
