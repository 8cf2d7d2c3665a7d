"""The state of the site at one moment: queues, workers, beats, the next schedules, open alarms."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from taskdb.client.queues import Queue
from taskdb.client.taskdb import TaskDB
from taskdb.model.alarm.alarm import AlarmEntity
from taskdb.model.schedule.schedule import ScheduleEntity
from taskdb.store.task.worker import WorkerRecord

NEXT = 5
"""Schedules, and alarms, that an overview shows."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A look at the whole site; `schedules` are those that fire next, `alarms` the newest open."""

    at: datetime
    queues: Sequence[Queue]
    workers: Sequence[WorkerRecord]
    beats: Sequence[str]
    schedules: Sequence[ScheduleEntity]
    alarms: Sequence[AlarmEntity]

    @property
    def needs(self) -> list[str]:
        """Problems for an operator: one sentence each, with the command that helps."""
        found = []
        if not self.beats:
            found.append(
                "no beat runs: nothing is rescued, retried or scheduled. Run `taskdb beat`."
            )
        found += [
            f"queue {one.name} has {one.ready:,} ready and no worker. Run `taskdb worker -Q"
            f" {one.name}`."
            for one in self.queues
            if one.is_unserved
        ]
        halted = sum(one.halted for one in self.queues)
        if halted:
            found.append(f"{halted:,} halted: see `taskdb list --status HALTED`.")
        if self.alarms:
            found.append("alarms are open: see `taskdb alarm list`.")
        return found


def overview(taskdb: TaskDB) -> Overview:
    """Read each part once; they are not of the same instant.

    For the operator only; other callers get InvalidInput. Raises DatabaseError.
    """
    queues = taskdb.queues.list()
    due = [one for one in taskdb.schedules.list() if one.is_enabled and one.next_due_at is not None]
    return Overview(
        at=datetime.now(UTC),
        queues=queues,
        workers=taskdb.workers.list(),
        beats=taskdb.store.beats.live(),
        schedules=heapq.nsmallest(NEXT, due, key=lambda one: one.next_due_at or one.created_at),
        alarms=taskdb.alarms.list(state="open", limit=NEXT),
    )
