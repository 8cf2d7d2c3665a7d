"""Makes a worker late in ending the bodies that did not stop when asked.

A task module of the tests: the worker looks for such bodies as ever, and leaves the file `wished`
when it has one to end; it does so only once the file `end-it` exists, and then leaves `looked`.
"""

from typing import Any

from tests.integration.worker_tasks import folder

from taskdb_worker.process.worker_process import WorkerProcess

terminate_canceled = WorkerProcess.terminate_canceled


def terminate_late(process: WorkerProcess, pool: Any) -> None:
    if not process._to_terminate:
        return
    (folder() / "wished").touch()
    if (folder() / "end-it").exists():
        terminate_canceled(process, pool)
        (folder() / "looked").touch()


WorkerProcess.terminate_canceled = terminate_late  # type: ignore[method-assign]
