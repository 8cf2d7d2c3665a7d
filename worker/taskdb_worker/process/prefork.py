"""Celery's pool of processes, but it sends a task at once and keeps a task that it has just sent.

At its shutdown, Celery forgets every task that no child has acknowledged yet. A child that was sent
a task in that moment runs it all the same, then waits 30 s for its result to be read (billiard's
`_ensure_messages_consumed`). The shutdown takes as long, on a busy worker about one in four, and
another worker gets the message and runs the task again.

Celery also writes the length of a task and then the task. Each write wakes the child, which finds
only a part the first time. That was a fifth of the work of a worker's main process.
"""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from select import PIPE_BUF
from typing import Any

from celery.concurrency import asynpool, prefork

_NOTHING = memoryview(b"")


class SentPool(asynpool.AsynPool):
    """Keeps a task that was sent to a child until it replies, and sends it in one piece."""

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
        """Drop the tasks that no child was sent. Those that were sent are complete and stay."""
        sent = {} if self._state == asynpool.TERMINATE else self._sent()
        super().flush()
        self._cache.update(sent)
        # Else a worker that only lost its connection would send those children another task.
        self._busy_workers.update(job._write_to.inqW_fd for job in sent.values())  # noqa: SLF001

    def _sent(self) -> dict[int, Any]:
        sent = {}
        for number, job in tuple(self._cache.items()):
            process = getattr(job, "_write_to", None)
            if job._accepted or process is None or not process._is_alive():  # noqa: SLF001
                continue
            writer = asynpool._get_job_writer(job)  # noqa: SLF001
            if writer in self._active_writers:
                # The beginning of the next message would complete half a message.
                self._flush_writer(process, writer)
            sent[number] = job
        return sent


class TaskPool(prefork.TaskPool):
    """The pool of the worker. Any Celery app may name it as its `worker_pool`."""

    Pool = SentPool


def in_one_piece(
    head: memoryview, body: memoryview, size: int
) -> tuple[memoryview, memoryview, int]:
    """Return the first write to a pipe, the second one, and the length of the second.

    A pipe takes a write up to PIPE_BUF whole or not at all, so it is never torn. Celery handles
    longer ones, and continues where a write has stopped.
    """
    if len(head) + size > PIPE_BUF:
        return head, body, size
    return memoryview(head.tobytes() + body.tobytes()), _NOTHING, 0
