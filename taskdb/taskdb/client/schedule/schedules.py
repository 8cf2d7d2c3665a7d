"""Schedules: recurring submissions, created by hand or declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, TypedDict, Unpack

from taskdb.client.caller.actor import note_change
from taskdb.client.caller.caller import Caller
from taskdb.client.schedule.declarations import Declarations, Declared
from taskdb.client.submission.chosen_options import ChosenOptions
from taskdb.client.submission.drafting import Drafting
from taskdb.client.tasks import Tasks
from taskdb.client.types import Types
from taskdb.errors import Fault, InvalidInput, PayloadTooLarge, did_you_mean
from taskdb.model.bounds import NAME_BYTES, check_texts, shown, spelled
from taskdb.model.entity import TaskEntity
from taskdb.model.json_text import Unreadable, encode
from taskdb.model.schedule.schedule import (
    SUBJECT,
    Origin,
    RefusedSchedule,
    Schedule,
    ScheduleEntity,
    ScheduleRun,
)
from taskdb.settings.settings import Settings
from taskdb.store.contract import Draft
from taskdb.store.schedule.fire_pass import Fired
from taskdb.store.schedule.row import Definition
from taskdb.store.schedule.schedule import Synced
from taskdb.store.store import Store

PREVIEW_LIMIT = 1_000
RUN_LIMIT = 1_000
FIRE_BATCH = 200
"""The most schedules that one pass takes."""


class ScheduleOptions(TypedDict, total=False):
    """The options of `create` besides name, type and input; see `Schedule`."""

    cron: str | None
    every: timedelta | float | None
    at: datetime | None
    timezone: str
    tenant: str | None
    queue: str | None
    priority: int | None
    jitter: timedelta | float
    deadline: timedelta | float | None
    starts_at: datetime | None
    ends_at: datetime | None
    misfire: str
    misfire_grace: timedelta | float
    misfire_bound: int
    overlap: str
    is_enabled: bool


class Schedules:
    """`taskdb.schedules`: recurring submissions, created by hand or declared by task types."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        types: Types,
        drafting: Drafting,
        caller: Caller,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._store = store
        self._types = types
        self._drafting = drafting
        self._caller = caller
        self._scope = caller.scope
        self._tasks = tasks

    # --- by hand ------------------------------------------------------------------------------

    def create(
        self,
        name: str,
        type: str,
        input: Any = None,
        *,
        replace: bool = False,
        created_by: str | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleEntity:
        """Submit a task type repeatedly: by `cron`, every period `every`, or once `at` a moment.

        The options are those of `Schedule`. The name is unique in its tenant. With `replace` an
        existing schedule of a person is changed and keeps its history of due times; the change
        takes effect at the next pass of a beat. Raises InvalidInput, UnknownTaskType (nothing was
        written), ScheduleExists, DatabaseError.
        """
        schedule = schedule_of({**options, "name": name})
        actor = self._caller.actor(created_by)
        definition = self._definition(schedule, type, input, created_by=actor)
        return self._store.schedules.add(definition, self._scope, replace=replace)

    def check(
        self, name: str, type: str, input: Any = None, **options: Unpack[ScheduleOptions]
    ) -> None:
        """Raise the errors of `create` for these arguments, except for a name that is taken."""
        self._definition(schedule_of({**options, "name": name}), type, input)

    def get(self, reference: str, *, tenant: str | None = None) -> ScheduleEntity:
        """Return the schedule with this name or id.

        Raises ScheduleNotFound, and InvalidInput for a name that several tenants use, if no
        tenant is given.
        """
        reference = spelled(reference)
        check_texts(SUBJECT, reference=reference, tenant=tenant)
        return self._store.schedules.get(reference, self._scope, tenant)

    def pause(
        self, reference: str, *, tenant: str | None = None, by: str | None = None
    ) -> ScheduleEntity:
        """Stop a schedule until `resume`; a declared schedule stays paused as well."""
        actor, found = self._caller.actor(by), self.get(reference, tenant=tenant)
        self._store.schedules.pause(found.id, self._scope)
        note_change("schedule.paused", found.id, actor)
        return self.get(found.id)

    def resume(
        self, reference: str, *, tenant: str | None = None, by: str | None = None
    ) -> ScheduleEntity:
        """Start a paused schedule again from now on; due times of the pause are skipped.

        Raises InvalidInput if this client may not submit its tasks.
        """
        actor, found = self._caller.actor(by), self.get(reference, tenant=tenant)
        if self._caller.permission.is_limited:
            self._drafting.place(found.type, queue=found.queue, priority=found.priority)
        self._store.schedules.resume(found.id, self._scope)
        note_change("schedule.resumed", found.id, actor)
        return self.get(found.id)

    def run_now(
        self, reference: str, *, tenant: str | None = None, by: str | None = None
    ) -> TaskEntity:
        """Create a task of a schedule at once, also of a paused one; its due times do not change.

        The actor of this call is recorded as the creator of the task. If an open task has its
        unique key, returns that task. Raises ScheduleNotFound, UnknownTaskType, InvalidInput.
        """
        actor, found = self._caller.actor(by), self.get(reference, tenant=tenant)
        if found.message is not None:
            advice = "it sends a plain Celery task: call that task's own delay()"
            raise InvalidInput(SUBJECT, [Fault("", advice)])
        now = self._store.schedules.now()
        draft = self._draft_of(found, now, now, at_once=True, by=actor)
        return self._tasks.get_task(self._store.firings.fire_now(found, draft, self._scope))

    def remove(self, reference: str, *, tenant: str | None = None, by: str | None = None) -> None:
        """Delete a schedule; its tasks and the history of its due times stay.

        Raises ScheduleNotFound, and InvalidInput for a declared one, which would come back.
        """
        actor, found = self._caller.actor(by), self.get(reference, tenant=tenant)
        if found.origin is not Origin.PERSON:
            advice = f"it is declared ({found.origin}): remove it there, or pause it"
            raise InvalidInput(SUBJECT, [Fault("", advice)])
        self._store.schedules.remove(found.id, self._scope)
        note_change("schedule.removed", f"{found.id} {found.name}", actor)

    def runs(
        self, reference: str, *, tenant: str | None = None, limit: int = 50
    ) -> list[ScheduleRun]:
        """Return the history of its due times, latest first; raises ScheduleNotFound."""
        _check_count(limit, "limit", RUN_LIMIT)
        found = self.get(reference, tenant=tenant)
        return self._store.schedules.runs(found.id, limit, self._scope)

    def due_times(
        self, reference: str, *, tenant: str | None = None, count: int = 10
    ) -> list[datetime]:
        """Return the next due times of a schedule, in UTC, as if it were not paused."""
        found = self.get(reference, tenant=tenant)
        _check_count(count, "count", PREVIEW_LIMIT)
        return list(islice(found.timetable.behind(self._store.schedules.now()), count))

    def preview(self, schedule: Schedule | str, *, count: int = 10) -> list[datetime]:
        """Return the next due times of a cron expression, or of a new schedule."""
        _check_count(count, "count", PREVIEW_LIMIT)
        one: Any = Schedule(schedule) if isinstance(schedule, str) else schedule
        if not isinstance(one, Schedule):
            advice = f"{shown(schedule)} is neither a cron expression nor a Schedule"
            raise InvalidInput(SUBJECT, [Fault("", advice)])
        now = self._store.schedules.now()
        return list(islice(one.timetable(now).behind(now), count))

    # --- for beats ----------------------------------------------------------------------------

    def fire(self, limit: int = FIRE_BATCH) -> Fired:
        """Fire the due schedules of every tenant, as a beat does; returns the result.

        Raises DatabaseError, and InvalidInput for a scoped client.
        """
        self._caller.require_operator()
        fired = self._store.firings.fire_due(limit, self._draft_of)
        self._drafting.discard(fired.unused)
        return fired

    def sync(self) -> Declared:
        """Store the schedules that `@task(schedule=…)` and TASKDB_SCHEDULES declare.

        A wrong declaration is refused and stops no other: `refused` lists it, and its earlier
        version stays. If no task type is known, no schedule of the code is added or removed.
        Raises DatabaseError, TaskModuleError.
        """
        self._caller.require_operator()
        known = len(self._types.discover()) > 0
        found = self._declared()

        def sync_code() -> Synced:
            wrong = found.refused_of(Origin.CODE)
            return self._store.schedules.sync(Origin.CODE, found.code, refused=wrong, removes=known)

        code = sync_code()
        given = self._store.schedules.sync(
            Origin.SETTINGS, found.settings, refused=found.refused_of(Origin.SETTINGS)
        )
        if set(code.taken) & set(given.removed):
            # A declaration has moved from the settings into the code: its name is free only now.
            again = sync_code()
            code = replace(
                again,
                added=(*code.added, *again.added),
                changed=code.changed + again.changed,
                removed=code.removed,
            )
        return Declared(code, given)

    def check_declared(self) -> list[RefusedSchedule]:
        """Return the declarations that `sync` would refuse, except for taken names; no writes."""
        self._caller.require_operator()
        self._types.discover()
        return list(self._declared().refused)

    def refused(self) -> list[RefusedSchedule]:
        """Return the declarations that the last sync refused; a scoped client gets none."""
        if self._scope.tenants is not None:
            return []
        return self._store.schedules.refused()

    def list(
        self, *, tenant: str | None = None, origin: Origin | str | None = None
    ) -> list[ScheduleEntity]:
        """Return the schedules in this client's scope, by tenant and name; raises InvalidInput."""
        try:
            chosen = None if origin is None else Origin(origin)
        except ValueError:
            known = ", ".join(Origin)
            raise InvalidInput("the list request", [Fault("origin", f"one of {known}")]) from None
        check_texts("the list request", NAME_BYTES, tenant=tenant)
        return self._store.schedules.all(self._scope, tenant=tenant, origin=chosen)

    def _declared(self) -> Declarations:
        found = Declarations()
        for known in self._types.registry:
            for one in known.schedules:
                make = partial(self._definition, one, known.name, one.input, origin=Origin.CODE)
                found.add(Origin.CODE, one.name or known.name, known.name, make)
        for given in self._settings.schedules:
            make = partial(self._of_settings, given)
            found.add(Origin.SETTINGS, str(given["name"]), str(given["type"]), make)
        return found

    def _of_settings(self, given: Mapping[str, Any]) -> Definition:
        values = {name: value for name, value in given.items() if name != "type"}
        one = Schedule.from_json(values)
        return self._definition(one, given["type"], one.input, origin=Origin.SETTINGS)

    def _definition(
        self,
        schedule: Schedule,
        type_name: str,
        given: Any,
        *,
        origin: Origin = Origin.PERSON,
        created_by: str | None = None,
    ) -> Definition:
        options = ChosenOptions(
            tenant=schedule.tenant,
            queue=schedule.queue,
            priority=schedule.priority,
            created_by=created_by,
        )
        value = self._drafting.checked(type_name, given, options)
        size = len(encode(value, f"the input of {type_name}").encode())
        if size > self._settings.payload_limit_bytes:
            limit = self._settings.payload_limit_bytes
            raise PayloadTooLarge(f"the input of {type_name}", size, limit)
        return Definition(
            name=schedule.name or type_name,
            tenant=self._drafting.tenant(schedule.tenant),
            type=type_name,
            input=value,
            schedule=schedule,
            origin=origin,
            created_by=created_by,
        )

    def _draft_of(
        self,
        one: ScheduleEntity,
        due: datetime,
        now: datetime,
        *,
        at_once: bool = False,
        by: str | None = None,
    ) -> Draft:
        if isinstance(one.input, Unreadable):
            fault = Fault("input", f"cannot be read: {one.input['unreadable']}")
            raise InvalidInput(f"schedule {one.name!r}", [fault])
        run_at = None if at_once else one.run_at(due)
        options = ChosenOptions(
            tenant=one.tenant,
            name=one.name,
            queue=one.queue,
            priority=one.priority,
            run_at=run_at,
            deadline=one.deadline_at(max(run_at or due, now)),
            created_by=by or f"schedule:{one.name}",
            attributes={"schedule": one.name, "due_at": due.isoformat()},
        )
        return self._drafting.drafts(one.type, [one.input], options)[0]


def schedule_of(options: Mapping[str, Any]) -> Schedule:
    """Return the schedule of these options; raises InvalidInput that names every fault."""
    known = {one.name for one in fields(Schedule)} - {"input"}
    faults = [
        Fault(name, f"no such option{did_you_mean(name, known)}")
        for name in options
        if name not in known
    ]
    if faults:
        raise InvalidInput(SUBJECT, faults)
    return Schedule(**options)


def _check_count(value: Any, name: str, limit: int) -> None:
    if type(value) is not int or not 1 <= value <= limit:
        raise InvalidInput("the request", [Fault(name, f"1 to {limit:,}")])
