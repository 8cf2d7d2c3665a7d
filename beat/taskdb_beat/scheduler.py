"""`celery -A … beat -S taskdb_beat:DatabaseScheduler`: Celery's own command over TaskDB's rows.

Celery keeps a heap of entries in memory and the last run of each in a file. Here a due entry is a
row, so any number of beats may run, and a beat that starts finds the missed ones.
"""

# Celery's base class has no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from datetime import datetime
from typing import Any

from celery.beat import Scheduler

from taskdb.celery.publish.unreachable import is_unreachable
from taskdb.celery.recurrence import when
from taskdb.client.taskdb import TaskDB
from taskdb.errors import BrokerUnreachable
from taskdb.model.schedule.schedule import Origin, ScheduleEntity
from taskdb.settings.settings import Settings
from taskdb_beat.command import loops_of
from taskdb_beat.loops.loop import Loop
from taskdb_beat.observation import Observation, observe
from taskdb_beat.schedule.declaration import Declaration, tell
from taskdb_beat.schedule.entry import Entries
from taskdb_beat.schedule.held_stop import held_stop
from taskdb_beat.schedule.schedule import LEAST_PAUSE_SECONDS, FireSchedules

__all__ = ["DatabaseScheduler", "when"]

_STOP_SECONDS = 10.0


class DatabaseScheduler(Scheduler):
    """Fires the schedules of the database, and runs the loops of a beat beside it.

    The entries of the app's `beat_schedule` become rows when it starts. An entry of a task type
    creates a task. Any other entry sends its message as Celery does, once for each due time (a beat
    that is killed while it sends sends it again).
    """

    def __init__(self, app: Any, *arguments: Any, **options: Any) -> None:
        found = getattr(app, "taskdb_reader", None)
        self._taskdb: TaskDB = found if isinstance(found, TaskDB) else TaskDB(Settings.load())
        declaration = Declaration(self._taskdb, self._declare_entries)
        self._fire = FireSchedules(self._taskdb, declaration=declaration)
        self._loops: list[Loop] = []
        self._observation: Observation | None = None
        interval = self._taskdb.settings.schedule_interval_seconds
        self._loop = Loop("schedule", self._pass, interval, self._seconds_to_due)
        super().__init__(app, *arguments, **options)

    def setup_schedule(self) -> None:
        """Start the loops. The entries become rows at the first tick that reaches the database."""
        self._loops = loops_of(self._taskdb)
        self._observation = observe(self._taskdb, [*self._loops, self._loop])
        for loop in self._loops:
            loop.start()
        self._observation.start()

    def tick(self, *_arguments: Any, **_options: Any) -> float:
        """Fire due schedules. Returns the seconds to the next tick, the longest wait of an edit."""
        return 0.0 if self._loop.run_once() else self._loop.pause_seconds()

    def _seconds_to_due(self) -> float:
        sends = self._taskdb.store.firings.seconds_to_due(has_message=True)
        fires = self._fire.seconds_to_due()
        return fires if sends is None else min(max(sends, LEAST_PAUSE_SECONDS), fires)

    def sync(self) -> None:
        """Do nothing: the rows hold the state."""

    def close(self) -> None:
        """End the loops."""
        if self._observation is not None:
            self._observation.stop()
        for loop in self._loops:
            loop.let_end()
        for loop in self._loops:
            loop.stop(_STOP_SECONDS)
        self._taskdb.close()

    @property
    def info(self) -> str:
        """The line that `celery beat` shows."""
        return "    . schedules -> the database of TaskDB"

    def _pass(self) -> bool:
        more = self._fire.run_once()
        # Celery's command ends by an exception from a signal handler. A message that was sent and
        # is not recorded yet would be sent again.
        with held_stop():
            sent = self._taskdb.store.firings.send_due(self._send)
        self._fire.tell_broken(sent)
        return sent.is_full or more

    def _declare_entries(self) -> None:
        definitions, refused = Entries(self.app, self._taskdb).read()
        synced = self._taskdb.store.schedules.sync(Origin.CELERY, definitions, refused=refused)
        tell(synced, "celery")
        if synced.removed:
            # The name of an entry that has moved into the code or the settings is free now.
            declared = self._taskdb.schedules.sync()
            tell(declared.code, "code")
            tell(declared.settings, "settings")

    def _send(self, one: ScheduleEntity, due: datetime) -> None:
        """Publish a plain Celery task. Raises BrokerUnreachable; the task is then due again.

        Any other error, also one that kombu calls an error of the connection, is the message's own.
        """
        message = one.message or {}
        headers = {"schedule": one.name, "due_at": due.isoformat()}
        try:
            self.app.send_task(
                one.type,
                message["args"],
                message["kwargs"],
                **{"headers": headers, **message["options"]},
            )
        except Exception as error:
            if not is_unreachable(error, self.app.connection_for_write().get_transport_cls()):
                raise
            reason = f"schedule {one.name!r} was not sent and is tried again: {error}"
            raise BrokerUnreachable(reason) from error
