"""The worker's commands, which the command line reaches through entry points."""

# Celery has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import os
from uuid import uuid4

from taskdb.client.taskdb import TaskDB
from taskdb.errors import IllegalMove
from taskdb.logging import configure_logging
from taskdb.model.entity import TaskEntity
from taskdb.model.status import WAITING, in_order
from taskdb.settings.settings import Settings
from taskdb.store.contract import Claim
from taskdb_worker.app import create_app
from taskdb_worker.process.options import refuse_at_the_command
from taskdb_worker.process.worker_process import WorkerProcess

_QUIET = ("--without-mingle", "--without-gossip", "-O", "fair")
"""Start-up steps and messages that a worker with a database of record does not need."""


def run_worker(site: Settings | TaskDB, arguments: list[str]) -> int:
    """Run a worker until it is stopped. `arguments` are those of `celery worker`.

    `site` is a client, whose surroundings its bodies get, or the settings of one.

    Raises SettingsError for options that a worker cannot honor. Returns the exit code, not zero
    also for a worker that ended by an error of its own.
    """
    refuse_at_the_command(arguments)
    taskdb = site if isinstance(site, TaskDB) else TaskDB(site)
    # Celery sets level and file later. Earlier logs are redacted as well.
    configure_logging(taskdb.settings)
    app = create_app(taskdb=taskdb)
    try:
        app.worker_main(["worker", *_QUIET, *arguments])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    return int(app.taskdb_life.exit_code)


def run_task(taskdb: TaskDB, reference: str) -> TaskEntity:
    """Run the body of one waiting task in this process, now. Returns the task afterwards.

    Raises TaskNotFound, UnknownTaskType, and IllegalMove for a task that cannot be claimed.
    """
    entity = taskdb.get_task(reference)
    task_type = taskdb.types.discover().get(entity.type)
    process = WorkerProcess(taskdb)
    process.begin(f"run-task-{os.getpid()}", (), (entity.type,))
    try:
        process.own_token = token = uuid4().hex
        claim = process.execution.claim(entity.id, task_type, token)
        if not claim.granted:
            raise _refused(process, claim, entity.id)
        process.execution.run(entity.id, task_type, claim, token)
        taskdb.store.joins.settle(entity.id)
        if claim.needs_admission:
            taskdb.limits.release(claim.wait_queues)
        return taskdb.get_task(entity.id)
    finally:
        process.end()


def _refused(process: WorkerProcess, claim: Claim, task_id: str) -> IllegalMove:
    status = str(claim.status)
    if claim.status in WAITING:
        if not process.execution.hold(task_id):
            process.execution.expire(task_id)
        found = process.taskdb.get_task(task_id)
        status, holder = str(found.status), found.held_by
        if holder is not None:
            status = f"{status}, held by {holder} (`taskdb limit list` shows the rules)"
    return IllegalMove("claim", status, in_order(WAITING), task_id)
