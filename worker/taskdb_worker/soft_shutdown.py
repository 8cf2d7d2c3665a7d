"""The time that running bodies get when a worker must stop soon: it is over when they are.

Celery sleeps through the whole of it, also when nothing runs. Its main loop stands still
meanwhile, so the rows, which bodies write themselves, are the only ones that know.
"""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

import os
import time

import structlog
from celery import Celery
from celery.apps.worker import Worker
from celery.concurrency.prefork import TaskPool as Prefork
from celery.platforms import EX_FAILURE
from celery.worker import state

from taskdb.celery.publish import FINALIZE
from taskdb_worker.member import Member
from taskdb_worker.tracked_task import TrackedTask

log = structlog.get_logger("taskdb.worker")

_LOOK_SECONDS = 0.3
_LOOKS = 2
"""So many in a row must find nothing: what a body started last may be claimed between them, and
what follows an outcome takes its moment."""


def install_soft_shutdown(app: Celery, member: Member) -> None:
    """Let workers of this app end their soft shutdown when the bodies of this member have ended."""
    app.taskdb_member = member
    app.Worker = app.subclass_with_self(PatientWorker, name="Worker")


class PatientWorker(Worker):
    """A worker whose soft shutdown ends early where nothing runs any more."""

    def wait_for_soft_shutdown(self) -> None:
        """Return when nothing runs, or when the time of the settings is up.

        Then Celery ends the processes of a pool. Threads end only with this process, and a body
        may go on for hours: so what they run is handed back here, and this process ends.
        """
        seconds = self.app.conf.worker_soft_shutdown_timeout
        if seconds <= 0:
            return
        log.info("soft_shutdown.begun", seconds=seconds)
        began = time.monotonic()
        empty = 0
        while empty < _LOOKS and (left := seconds - (time.monotonic() - began)) > 0:
            empty = 0 if self._runs_something() else empty + 1
            time.sleep(min(_LOOK_SECONDS, left))
        waited = round(time.monotonic() - began, 3)
        is_early = empty >= _LOOKS
        log.info("soft_shutdown.over", after_seconds=waited, is_early=is_early)
        if not is_early and not isinstance(self.pool, Prefork):
            self.app.taskdb_member.end()
            # Not by SystemExit, which would wait for the threads.
            os._exit(EX_FAILURE)

    def _runs_something(self) -> bool:
        # Tasks of others have no row of ours; Celery cannot tell that they end before its loop
        # goes on, so they have the whole time. A join that is cut short is done by another.
        has_foreign = any(
            not isinstance(request.task, TrackedTask) and request.name != FINALIZE
            for request in tuple(state.active_requests)
        )
        return has_foreign or self.app.taskdb_member.runs_something()
