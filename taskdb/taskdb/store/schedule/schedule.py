"""Schedules as rows: created, declared, listed, paused, removed. `fire` fires them.

Transactions take locks in one order, so that they never deadlock: first the advisory lock for
creating schedules, then the rows of schedules. Firing takes unlocked rows only and waits for none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, select

from taskdb.errors import Fault, InvalidInput, ScheduleExists, ScheduleNotFound
from taskdb.model.json_text import storable
from taskdb.model.schedule.schedule import (
    SUBJECT,
    Origin,
    RefusedSchedule,
    ScheduleEntity,
    ScheduleRun,
)
from taskdb.store.contract import Scope
from taskdb.store.engine.aside import is_of_a_row, reason_of
from taskdb.store.engine.database import Database
from taskdb.store.engine.tables import schedule, schedule_refusal, schedule_run
from taskdb.store.engine.types import moment
from taskdb.store.schedule.queries import FILE, ScheduleRows
from taskdb.store.schedule.row import (
    NEVER,
    Definition,
    change_schedule,
    entity,
    insert_schedule,
    run_of,
    write_schedule,
)
from taskdb.store.task.statements import queries_of
from taskdb.store.task.task_id import is_id
from taskdb.store.tree.units import Units

_NAME_CHARACTERS = 200
_REASON_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Synced:
    """The changes of a declaration.

    `taken`: names that a schedule of another origin has. `refused`: those, and every other
    schedule that was refused.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    refused: tuple[RefusedSchedule, ...] = ()


@dataclass(slots=True)
class _Changes:
    """The changes of a declaration so far; `kept` are the ids of the rows that stay."""

    origin: Origin
    wrong: list[RefusedSchedule]
    taken: list[RefusedSchedule] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)

    def synced(self) -> Synced:
        return Synced(
            tuple(self.added),
            tuple(self.changed),
            tuple(self.removed),
            tuple(one.name for one in self.taken),
            (*self.wrong, *self.taken),
        )


class Schedules:
    """The operations on schedule rows; each is limited to the tenants of a scope."""

    def __init__(self, database: Database, units: Units) -> None:
        self._database = database
        self._units = units

    def add(self, definition: Definition, scope: Scope, *, replace: bool = False) -> ScheduleEntity:
        """Write a schedule; `replace` overwrites a person's schedule of the same name.

        Raises ScheduleExists, and InvalidInput for a tenant out of the scope.
        """
        scope.require(definition.tenant)
        with self._changing(alone=True) as (connection, now):
            found = self._named(connection, definition.tenant, definition.name)
            if found is None:
                schedule_id = insert_schedule(connection, definition, now)
            elif not replace or found["origin"] != Origin.PERSON:
                raise ScheduleExists(definition.name, found["origin"])
            else:
                schedule_id = found["id"]
                change_schedule(connection, found, definition, now)
                is_enabled = definition.schedule.is_enabled
                write_schedule(connection, schedule_id, is_enabled=is_enabled)
                if is_enabled and not found["is_enabled"]:
                    self._go_on(connection, schedule_id, now)
            return _one(connection, schedule.c.id == schedule_id)

    def get(self, reference: str, scope: Scope, tenant: str | None = None) -> ScheduleEntity:
        """Return the schedule of this name or id. Raises ScheduleNotFound.

        Raises InvalidInput if schedules of several tenants have the name: then give the tenant.
        """
        return self._database.read(lambda one: _find(one, reference, scope, tenant))

    def all(
        self, scope: Scope, *, tenant: str | None = None, origin: str | None = None
    ) -> list[ScheduleEntity]:
        """Return all schedules, ordered by tenant and name."""
        statement = select(schedule).order_by(schedule.c.tenant, schedule.c.name)
        statement = statement.where(*_within(scope, tenant))
        if origin is not None:
            statement = statement.where(schedule.c.origin == origin)
        return self._database.read(
            lambda one: [entity(row) for row in one.execute(statement).mappings()]
        )

    def runs(self, schedule_id: str, limit: int, scope: Scope) -> list[ScheduleRun]:
        """Return the runs of a schedule, latest due time first. Raises ScheduleNotFound."""
        statement = (
            select(schedule_run)
            .where(schedule_run.c.schedule_id == schedule_id)
            .order_by(schedule_run.c.due_at.desc())
            .limit(limit)
        )

        def read(connection: Connection) -> list[ScheduleRun]:
            _find(connection, schedule_id, scope, None)
            return [run_of(row) for row in connection.execute(statement).mappings()]

        return self._database.read(read)

    def pause(self, schedule_id: str, scope: Scope) -> None:
        """Stop a schedule from firing; a paused one stays paused. Raises ScheduleNotFound."""
        with self._changing() as (connection, now):
            _find(connection, schedule_id, scope, None)
            write_schedule(
                connection, schedule_id, is_enabled=False, updated_at=now, last_error=None
            )

    def resume(self, schedule_id: str, scope: Scope) -> None:
        """Let a schedule fire from now on; due times during the pause do not count.

        Raises ScheduleNotFound.
        """
        with self._changing() as (connection, now):
            _find(connection, schedule_id, scope, None)
            found = _one(connection, schedule.c.id == schedule_id, locked=True)
            if found.is_enabled:
                write_schedule(connection, schedule_id, retry_at=None, last_error=None)
                return
            self._go_on(connection, schedule_id, now)

    def remove(self, schedule_id: str, scope: Scope) -> None:
        """Delete a schedule; its tasks and its runs stay. Raises ScheduleNotFound."""
        with self._changing() as (connection, _now):
            _find(connection, schedule_id, scope, None)
            connection.execute(delete(schedule).where(schedule.c.id == schedule_id))

    def sync(
        self,
        origin: Origin,
        declared: Sequence[Definition],
        *,
        refused: Sequence[RefusedSchedule] = (),
        removes: bool = True,
    ) -> Synced:
        """Make the schedules of one origin equal to the declared ones.

        Schedules of other origins stay unchanged, also with the same name. A paused one stays
        paused. `removes` deletes schedules that are no longer declared, except `refused` ones,
        whose rows stay as they are. It also stores the refusals in their own table.
        """
        tally = _Changes(origin, wrong=list(refused))
        with self._changing(alone=True) as (connection, now):
            for one in declared:
                self._declare(connection, one, tally, now)
            if removes:
                names = [one.name for one in tally.wrong]
                tally.removed = self._remove_others(connection, origin, tally.kept, names)
                _write_refusals(connection, origin, [*tally.wrong, *tally.taken], now)
        return tally.synced()

    def refused(self) -> list[RefusedSchedule]:
        """Return the refusals of each origin's last declaration, by origin and name."""
        statement = select(schedule_refusal).order_by(
            schedule_refusal.c.origin, schedule_refusal.c.name
        )
        return self._database.read(
            lambda one: [_refusal(row) for row in one.execute(statement).mappings()]
        )

    def now(self) -> datetime:
        """The time by the store's clock."""
        with self._changing() as (_connection, now):
            return now

    def _go_on(self, connection: Connection, schedule_id: str, now: datetime) -> None:
        """Enable a schedule; its next due time is after now."""
        found = _one(connection, schedule.c.id == schedule_id)
        coming = found.timetable.next(now) or NEVER
        write_schedule(
            connection,
            schedule_id,
            is_enabled=True,
            next_due_at=coming,
            retry_at=None,
            last_error=None,
            updated_at=now,
        )

    def _declare(
        self, connection: Connection, one: Definition, tally: _Changes, now: datetime
    ) -> None:
        """Write one declared row; an error of this row stops no other."""
        try:
            with connection.begin_nested():
                found = self._named(connection, one.tenant, one.name)
                if found is None:
                    tally.kept.add(insert_schedule(connection, one, now))
                    tally.added.append(one.name)
                elif str(found["id"]) in tally.kept:
                    tally.wrong.append(_twice(one, found["type"]))
                elif found["origin"] != tally.origin:
                    tally.taken.append(_taken(one, found["origin"]))
                else:
                    tally.kept.add(str(found["id"]))
                    if change_schedule(connection, found, one, now):
                        tally.changed.append(one.name)
        except Exception as error:
            if not is_of_a_row(error):
                raise
            refused = RefusedSchedule(tally.origin, one.name, one.type, reason_of(error))
            tally.wrong.append(refused)

    def _remove_others(
        self, connection: Connection, origin: Origin, kept: Iterable[str], names: Iterable[str]
    ) -> list[str]:
        gone = (
            schedule.c.origin == str(origin),
            schedule.c.id.not_in(list(kept)),
            schedule.c.name.not_in(list(names)),
        )
        statement = delete(schedule).where(*gone).returning(schedule.c.name)
        return [row.name for row in connection.execute(statement)]

    def _named(self, connection: Connection, tenant: str, name: str) -> RowMapping | None:
        place = (schedule.c.tenant == tenant, schedule.c.name == name)
        statement = select(schedule).where(*place).with_for_update()
        return connection.execute(statement).mappings().first()

    @contextmanager
    def _changing(self, *, alone: bool = False) -> Iterator[tuple[Connection, datetime]]:
        """Begin a transaction; yields it and its time. `alone` excludes other creators."""
        exclude = queries_of(self._database.dialect, FILE).exclude_creators
        with self._database.transaction() as connection:
            if alone and exclude:
                connection.exec_driver_sql(exclude)
            yield connection, self._moment(connection)

    def _moment(self, connection: Connection) -> datetime:
        return ScheduleRows(self._units.over(connection)).now()


def _taken(one: Definition, origin: str) -> RefusedSchedule:
    reason = f"a schedule named {one.name!r} is there already ({origin}): choose another name"
    return RefusedSchedule(one.origin, one.name, one.type, reason)


def _twice(one: Definition, type_name: str) -> RefusedSchedule:
    reason = f"{type_name} declares a schedule named {one.name!r} as well: choose another name"
    return RefusedSchedule(one.origin, one.name, one.type, reason)


def _refusal(row: RowMapping) -> RefusedSchedule:
    return RefusedSchedule(
        Origin(row["origin"]), row["name"], row["type"], row["reason"], moment(row["at"])
    )


def _write_refusals(
    connection: Connection, origin: Origin, refused: Iterable[RefusedSchedule], now: datetime
) -> None:
    place = schedule_refusal.c.origin == str(origin)
    connection.execute(delete(schedule_refusal).where(place))
    rows = {
        one.name: {
            "origin": str(origin),
            "name": storable(one.name, _NAME_CHARACTERS),
            "type": storable(one.type, _NAME_CHARACTERS),
            "reason": storable(one.reason, _REASON_CHARACTERS),
            "at": now,
        }
        for one in refused
    }
    if rows:
        connection.execute(insert(schedule_refusal), list(rows.values()))


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
    # A tenant may choose the id of another schedule as a name: an id comes before a name.
    found = [row for row in found if str(row["id"]) == reference] or found
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
