"""One pass over locked schedules: the outcome of each due time, and its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from taskdb.errors import TaskDBError
from taskdb.model.json_text import storable
from taskdb.model.schedule.due import Due, due_now
from taskdb.model.schedule.schedule import Overlap, RunOutcome, ScheduleEntity
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Draft
from taskdb.store.schedule.queries import Run, ScheduleRows, fired_run, key_of, missed_run
from taskdb.store.schedule.row import NEVER
from taskdb.store.task.detail import spelled_reason
from taskdb.store.tree.decision import waiting_parents
from taskdb.store.tree.unit import Unit

RETRY_SECONDS = 5.0
"""The pause before a schedule that could not be fired is tried again; it stays due."""
ERROR_CHARACTERS = 2_000
_CANCELED = spelled_reason("its schedule was due again")

SEND_LEASE = timedelta(seconds=60)
"""How long a sending beat keeps a schedule; if it dies, another beat sends after that."""

DraftOf = Callable[[ScheduleEntity, datetime, datetime], Draft]
"""Makes the draft of a schedule, a due time and a moment; raises TaskDBError if it cannot fire."""


@dataclass(frozen=True, slots=True)
class Fired:
    """The result of one pass.

    `broken`: reasons by id of schedules that could not be fired. `unused`: drafts that did not
    become tasks. `is_full`: more schedules may be due.
    """

    task_ids: tuple[str, ...] = ()
    sent: int = 0
    missed: int = 0
    broken: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[Draft, ...] = ()
    is_full: bool = False


@dataclass(slots=True)
class Plan:
    """The part of one schedule in a pass: its runs, and a draft for each run with a task."""

    schedule: ScheduleEntity
    due: Due
    drafts: dict[datetime, Draft] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    last_task_id: str | None = None


class Pass:
    """One pass over some schedules, each locked by this transaction."""

    def __init__(self, unit: Unit, now: datetime) -> None:
        self._unit = unit
        self._rows = ScheduleRows(unit)
        self._now = now
        self._broken: dict[str, str] = {}
        self._unused: list[Draft] = []

    def fire(self, found: Sequence[ScheduleEntity], draft_of: DraftOf) -> Fired:
        """Create the tasks of the due times. Returns the result of the pass."""
        plans = self._plans(found, draft_of)
        self._obey_overlap(plans)
        task_ids = self.write(plans)
        return self._fired(plans, task_ids=tuple(task_ids))

    def lease(self, found: Sequence[ScheduleEntity]) -> Plan | Fired:
        """Lease one schedule and plan its messages. Returns Fired if there is nothing to send."""
        plans = self._plans(found, None)
        for plan in plans:
            known = self._rows.known_runs(plan.runs)
            fresh = tuple(run["due_at"] for run in plan.runs if key_of(run) not in known)
            plan.due = replace(plan.due, fire=fresh)
            if fresh:
                self._rows.lease(plan.schedule.id, SEND_LEASE)
                return plan
            plan.runs = []
        self._add_runs(plans)
        self._advance(plans)
        return full(self._fired(plans))

    def note_sent(self, plan: Plan, sent: Sequence[datetime], *, advances: bool) -> None:
        """Record the sent due times; the first unsent one is due next."""
        plan.runs = [fired_run(plan.schedule.id, due, None) for due in sent]
        self._add_runs([plan])
        unsent = [due for due in plan.due.fire if due not in sent]
        coming = (unsent[0] if unsent else plan.due.next) if advances else None
        plan.due = replace(plan.due, next=coming)
        self._advance([plan])

    def write(self, plans: Sequence[Plan]) -> list[str]:
        """Write the new runs, their tasks and the next due times. Returns the new task ids."""
        new = self._add_runs(plans)
        made: list[tuple[Plan, Run, Draft]] = []
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

    def _plans(self, found: Sequence[ScheduleEntity], draft_of: DraftOf | None) -> list[Plan]:
        plans = []
        for one in found:
            try:
                plans.append(self._plan(one, draft_of))
            except TaskDBError as error:
                self._broken[one.id] = storable(str(error), ERROR_CHARACTERS)
            # A row written by hand may hold anything; the others continue.
            except Exception as error:  # noqa: BLE001
                reason = f"{type(error).__name__}: {error}"
                self._broken[one.id] = storable(reason, ERROR_CHARACTERS)
        if self._broken:
            self._rows.refuse(self._broken, RETRY_SECONDS)
        return plans

    def _plan(self, one: ScheduleEntity, draft_of: DraftOf | None) -> Plan:
        faults = one.timetable.check()
        if faults:
            raise TaskDBError("; ".join(str(fault) for fault in faults))
        first = one.next_due_at or one.timetable.first(self._now)
        if first is None or first > self._now:
            return Plan(one, Due((), None, first or NEVER))
        due = due_now(one, first, self._now)
        due = replace(due, next=due.next or NEVER)
        drafts = {} if draft_of is None else {at: draft_of(one, at, self._now) for at in due.fire}
        ids = {at: draft.id for at, draft in drafts.items()}
        return Plan(one, due, drafts, [fired_run(one.id, at, ids.get(at)) for at in due.fire])

    def _obey_overlap(self, plans: Sequence[Plan]) -> None:
        """Skip runs, or cancel the last task, where that task of a schedule is not over."""
        asking = [plan for plan in plans if plan.runs and plan.schedule.overlap != Overlap.ALLOW]
        if not asking:
            return
        known = self._rows.known_runs([run for plan in asking for run in plan.runs])
        is_open = self._rows.open_among(
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
            # Under its own lock each parent sees the cancel, and stops its sub-tasks.
            self._unit.after.joins.extend(waiting_parents(moved))

    def _keep(self, plan: Plan, kept: Sequence[Run], running: str | None) -> None:
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

    def _add_runs(self, plans: Sequence[Plan]) -> set[tuple[str, datetime]]:
        runs = [run for plan in plans for run in plan.runs]
        runs += [
            missed_run(plan.schedule.id, plan.due.missed)
            for plan in plans
            if plan.due.missed is not None
        ]
        return self._rows.add_runs(runs) if runs else set()

    def _create(self, made: Sequence[tuple[Plan, Run, Draft]]) -> list[str]:
        if not made:
            return []
        created = self._unit.create([draft for _, _, draft in made], on_conflict="new")
        new = []
        for (plan, run, draft), one in zip(made, created, strict=True):
            plan.last_task_id = one.id
            if one.id != draft.id:
                self._unused.append(draft)
                reason = "the task with its unique key is not over"
                self._rows.skip_run(key_of(run), one.id, reason)
                continue
            new.append(one.id)
            if one.status is TaskStatus.CREATED:
                # The relay publishes tasks that run later.
                self._unit.after.ids.append(one.id)
        return new

    def _advance(self, plans: Sequence[Plan]) -> None:
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
            self._rows.advance(rows)

    def _fired(
        self, plans: Sequence[Plan], *, task_ids: tuple[str, ...] = (), sent: int = 0
    ) -> Fired:
        missed = sum(plan.due.missed.number for plan in plans if plan.due.missed)
        # A schedule with very many due times may still have some left.
        is_behind = any(plan.due.next and plan.due.next <= self._now for plan in plans)
        return Fired(
            task_ids, sent, missed, dict(self._broken), tuple(self._unused), is_full=is_behind
        )


def full(fired: Fired) -> Fired:
    """The same result, marked that more may be due."""
    return replace(fired, is_full=True)
