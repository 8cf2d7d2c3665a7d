"""Celery's pool of processes, which waits for the task that it has just sent to one of them.

Celery forgets at its shutdown whatever a child has not yet said that it took. A child that was
sent a task in that moment runs it all the same, and then waits 30 s for the answer to be read by
somebody (billiard's `_ensure_messages_consumed`): the shutdown takes as long, on a busy worker
about one in four, and the message is given to another worker, which runs the task again.
"""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

from celery.concurrency import asynpool, prefork


class SentPool(asynpool.AsynPool):
    """Keeps what was sent to a child until that has answered."""

    def flush(self) -> None:
        """Drop what no child was sent; what was sent is complete and stays."""
        sent = {} if self._state == asynpool.TERMINATE else self._sent()
        super().flush()
        self._cache.update(sent)
        # Else a worker that only lost its line would send those children another task.
        self._busy_workers.update(job._write_to.inqW_fd for job in sent.values())  # noqa: SLF001

    def _sent(self) -> dict[int, Any]:
        sent = {}
        for number, job in tuple(self._cache.items()):
            process = getattr(job, "_write_to", None)
            if job._accepted or process is None or not process._is_alive():  # noqa: SLF001
                continue
            writer = asynpool._get_job_writer(job)  # noqa: SLF001
            if writer in self._active_writers:
                # Half a message would be completed by the beginning of the next.
                self._flush_writer(process, writer)
            sent[number] = job
        return sent


class TaskPool(prefork.TaskPool):
    """The pool of the worker; any Celery app may name it as its `worker_pool`."""

    Pool = SentPool
