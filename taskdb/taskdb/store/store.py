"""The store: the rows of tasks and of everything that belongs to them, on one database.

The store knows rows and moves. It does not know task types, messages or processes. A verb that
guards a race returns whether it moved the row; the loser changes nothing. Each part is a class in
the folder of its noun, and takes the other parts that it needs in its constructor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from taskdb.model.clock import Clock, DatabaseClock
from taskdb.store.action.bulk import BulkActions
from taskdb.store.admission.limit import Limits
from taskdb.store.admission.release import Admission
from taskdb.store.adopted.adopted import AdoptedTasks
from taskdb.store.doctor.beat import Beats
from taskdb.store.doctor.drift import Doctor
from taskdb.store.doctor.lost_message import LostMessages
from taskdb.store.doctor.server_drift import ServerDrifts
from taskdb.store.doctor.situation import Situations
from taskdb.store.doctor.vacuum import Vacuum
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.outgoing.alarm.alarm import Alarms
from taskdb.store.outgoing.subscription.subscription import Subscriptions
from taskdb.store.payload.payload import NO_PAYLOADS, Payloads
from taskdb.store.retention.partition import Partitions
from taskdb.store.schedule.fire import Firings
from taskdb.store.schedule.schedule import Schedules
from taskdb.store.task.outcome import Outcomes
from taskdb.store.task.publish import Publications
from taskdb.store.task.read import Tasks
from taskdb.store.task.run import Runs
from taskdb.store.task.table import TaskTable
from taskdb.store.task.take_back import TakeBacks
from taskdb.store.task.worker import Workers
from taskdb.store.tree.callback import Callbacks
from taskdb.store.tree.decision import Decisions
from taskdb.store.tree.ending import Endings
from taskdb.store.tree.fan_out import FanOuts
from taskdb.store.tree.intervention import Interventions
from taskdb.store.tree.join import Joins
from taskdb.store.tree.rerun import Reruns
from taskdb.store.tree.resubmission import Resubmissions
from taskdb.store.tree.submit import Submissions
from taskdb.store.tree.units import Units


class Store:
    """The parts of the store, over one database."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        pool_size: int = 5,
        migrates_itself: bool = False,
        relay_grace: timedelta = timedelta(seconds=5),
        payloads: Payloads = NO_PAYLOADS,
    ) -> None:
        self.payloads = payloads
        self.database = database = Database(
            url, clock or DatabaseClock(), pool_size=pool_size, migrates_itself=migrates_itself
        )
        self.aside = aside = Aside(database)
        table = TaskTable(database)
        decisions = Decisions(payloads)

        # A task.
        self.tasks = Tasks(database, payloads)
        self.runs = Runs(database, aside, table)
        self.outcomes = Outcomes(aside, table)
        self.take_backs = TakeBacks(aside, table)
        self.publications = Publications(database, aside, table)
        self.workers = Workers(database)

        # A tree of tasks.
        self.units = units = Units(database, relay_grace)
        self.joins = joins = Joins(database, aside, table, units, decisions)
        self.endings = Endings(database, aside, table, units, joins)
        self.callbacks = Callbacks(database, aside, table, units, joins)
        self.fan_outs = FanOuts(database, table, self.tasks, units, joins)
        reruns = Reruns(payloads, decisions, joins)
        self.submissions = Submissions(database, units, joins, Resubmissions(payloads, reruns))
        self.interventions = Interventions(
            database, table, self.tasks, self.publications, units, joins, reruns
        )
        self.bulk = BulkActions(database, aside, table, self.interventions)

        # Whether a task may start, and when.
        self.limits = Limits(database)
        self.admission = Admission(database, aside)
        self.schedules = Schedules(database, units)
        self.firings = Firings(database, aside, units, joins)

        # Alarms, subscriptions and adopted tasks.
        self.alarms = Alarms(database, aside)
        self.subscriptions = Subscriptions(database)
        self.adopted = AdoptedTasks(database, aside)

        # Upkeep.
        self.beats = Beats(database)
        self.lost_messages = LostMessages(database, aside)
        self.partitions = Partitions(database)
        self.vacuum = Vacuum(database)
        self.situations = Situations(database, self.tasks, self.workers)
        server = ServerDrifts(database, self.beats, self.partitions, self.vacuum)
        self.doctor = Doctor(database, aside, joins, self.workers, self.lost_messages, server)

    # --- life ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections of this process. The next use opens new ones."""
        self.database.close()

    @contextmanager
    def closing(self) -> Iterator[Store]:
        """Return a context manager that closes the store at its end."""
        try:
            yield self
        finally:
            self.close()
