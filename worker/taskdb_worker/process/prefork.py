"""Celery's pool of processes, which sends a task at once and waits for the one it has just sent.

Celery forgets at its shutdown whatever a child has not yet said that it took. A child that was
sent a task in that moment runs it all the same, and then waits 30 s for the answer to be read by
somebody (billiard's `_ensure_messages_consumed`): the shutdown takes as long, on a busy worker
about one in four, and the message is given to another worker, which runs the task again.

And Celery writes the length of a task and then the task. Each write wakes the child, which finds
only a part the first time: a fifth of what a worker's main process does was this.
"""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from select import PIPE_BUF
from typing import Any

from celery.concurrency import asynpool, prefork

_NOTHING = memoryview(b"")


class SentPool(asynpool.AsynPool):
    """Keeps what was sent to a child until that has answered, and sends it in one piece."""

    _quick_put: Any

    def _create_write_handlers(self, *arguments: Any, **options: Any) -> None:
        super()._create_write_handlers(*arguments, **options)
        put, jobs = self._quick_put, self._cache

        def put_whole(message: Any) -> None:
            put(message)
            job = jobs[message[1][0]]
            job._payload = in_one_piece(*job._payload)  # noqa: SLF001

        self._quick_put = put_whole

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


def in_one_piece(
    head: memoryview, body: memoryview, size: int
) -> tuple[memoryview, memoryview, int]:
    """What is to be written to a pipe first, then, and the length of that.

    A pipe takes what is no longer than this whole or not at all, so that it is never torn; longer
    ones are left to Celery, which goes on where a write has stopped.
    """
    if len(head) + size > PIPE_BUF:
        return head, body, size
    return memoryview(head.tobytes() + body.tobytes()), _NOTHING, 0
