"""The shutdown of a worker: warm, and then cold when the time limit of the settings has passed.

A signal handler only sets flags. The worker's loop reads them, takes no more tasks and waits for
its pool. A thread ends the bodies when their time is up. Celery waits inside its handler instead:
on top of the main thread's current work, such as an open transaction of the message file, and in a
solo pool on top of the very body that it waits for.
"""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from billiard.common import REMAP_SIGTERM, TERM_SIGNAL
from billiard.pool import RUN
from celery import Celery, signals
from celery.apps.worker import Worker, safe_say
from celery.concurrency.prefork import TaskPool as Prefork
from celery.platforms import EX_FAILURE, EX_OK
from celery.worker import state

from taskdb.celery.publish.publisher import FINALIZE
from taskdb.logger import get_logger
from taskdb_worker.process.options import fit_pool, refuse_options, tell_of_missing_limits
from taskdb_worker.process.worker_process import WorkerProcess
from taskdb_worker.run.tracked_task import TrackedTask

log = get_logger("taskdb.worker")

_LOOK_SECONDS = 0.3
_LOOKS = 2
"""This many looks in a row must find nothing: a body that started last may be claimed between them,
and the work after an outcome takes a moment."""
_PAUSE_SECONDS = 0.03
_LAST_SECONDS = 3.0
"""The time between the end signal of a process and its kill."""


def install_shutdown(app: Celery, process: WorkerProcess) -> None:
    """Make workers of this app stop as this module describes."""
    app.taskdb_process = process
    app.Worker = app.subclass_with_self(StoppingWorker, name="Worker")


class StoppingWorker(Worker):
    """A worker whose signal handlers never wait, and that refuses options that it cannot honor."""

    def on_before_init(self, quiet: bool = False, **options: Any) -> None:  # noqa: FBT001, FBT002 - Celery's signature
        """Refuse options before they set anything up."""
        method = options.get("pool_start_method") or self.app.conf.worker_pool_start_method
        refuse_options({**options, "pool_start_method": method})
        super().on_before_init(quiet=quiet, **options)

    def on_after_init(self, **options: Any) -> None:
        """Choose the pool, before the worker shows its banner."""
        super().on_after_init(**options)
        is_own = self.app.taskdb_process.taskdb.settings.worker_prefork == "taskdb"
        self.pool_cls: Any = fit_pool(self.pool_cls, is_own=is_own)

    def on_start(self) -> None:
        """Log limits that the pool cannot keep, now that there is a log."""
        super().on_start()
        tell_of_missing_limits(self.pool_cls)

    def install_platform_tweaks(self, worker: Any) -> None:
        """Take over the signals that stop a worker."""
        super().install_platform_tweaks(worker)
        Shutdown(self, self.app.taskdb_process).install()


class Shutdown:
    """The flags that the signal handlers set, and the thread that acts on them."""

    def __init__(self, worker: Worker, process: WorkerProcess) -> None:
        self._worker = worker
        self._process = process
        self._pid = os.getpid()
        self._read, self._write = os.pipe()
        self._interrupts = 0
        self._cold = 0
        """How often a cold shutdown was requested."""
        self._warm_sign = ""

    def install(self) -> None:
        """Set the handlers, and start the thread that waits for them."""
        os.set_blocking(self._write, False)
        signs = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            # Celery sets no handler at a terminal. Closing the terminal would kill the running
            # bodies.
            signs.append(signal.SIGHUP)
        for sign in signs:
            signal.signal(sign, self._on_signal)
        threading.Thread(target=self._watch, name="taskdb-shutdown", daemon=True).start()

    # --- in a signal handler --------------------------------------------------------------------

    def _on_signal(self, number: int, _: Any) -> None:
        if os.getpid() != self._pid:
            # A fork inherits this handler, until it sets its own or for good.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self._is_cold(number):
            self._cold += 1
            state.should_stop = EX_FAILURE
        elif not self._process.is_stopping:
            self._warm_sign = signal.Signals(number).name
            state.should_stop = EX_OK
        # A full pipe wakes the thread as well.
        with suppress(BlockingIOError):
            os.write(self._write, b".")

    def _is_cold(self, number: int) -> bool:
        if number == signal.SIGINT:
            self._interrupts += 1
            return self._interrupts > 1
        if number == signal.SIGTERM:
            return bool(REMAP_SIGTERM == "SIGQUIT")
        return number == signal.SIGQUIT

    # --- in the thread ----------------------------------------------------------------------------

    def _watch(self) -> None:
        os.read(self._read, 4096)
        if not self._cold:
            self._announce("Warm", self._warm_sign, EX_OK)
        while not self._cold:
            os.read(self._read, 4096)
        self._announce("Cold", "SIGQUIT", EX_FAILURE)
        if not self._have_ended():
            self._end_bodies()
        self._end_late()

    def _announce(self, how: str, sign: str, code: int) -> None:
        safe_say(f"worker: {how} shutdown (MainProcess)", sys.__stdout__)
        if self._interrupts and not self._cold:
            safe_say("worker: Hitting Ctrl+C again ends all running tasks!", sys.__stdout__)
        signals.worker_shutting_down.send(
            sender=self._worker.hostname, sig=sign, how=how, exitcode=code
        )

    def _have_ended(self) -> bool:
        """Whether all bodies ended within their time. False also after another signal."""
        seconds = self._worker.app.conf.worker_soft_shutdown_timeout
        if seconds <= 0:
            return False
        log.info("soft_shutdown.started", seconds=seconds)
        began = time.monotonic()
        asked, empty = self._cold, 0
        while (
            empty < _LOOKS
            and asked == self._cold
            and (left := seconds - (time.monotonic() - began)) > 0
        ):
            empty = 0 if self._runs_something() else empty + 1
            time.sleep(min(_LOOK_SECONDS, left))
        waited, is_early = round(time.monotonic() - began, 3), empty >= _LOOKS
        log.info("soft_shutdown.completed", after_seconds=waited, is_early=is_early)
        return is_early

    def _runs_something(self) -> bool:
        # Plain Celery tasks have no row: they get the whole time. Another process repeats a join.
        has_foreign = any(
            not isinstance(request.task, TrackedTask) and request.name != FINALIZE
            for request in tuple(state.active_requests)
        )
        return has_foreign or self._process.runs_something()

    def _end_bodies(self) -> None:
        """End the processes of the pool. Their tasks are handed back when the loss is seen.

        Threads, and the body of a solo pool, may run for hours, and end only with this process.
        """
        pool = self._worker.pool
        if not isinstance(pool, Prefork) or not self._is_closed(pool):
            self._leave()
        # A warm shutdown before had set another code.
        self._worker.exitcode = EX_FAILURE
        children = _pids(pool)
        _send(children, TERM_SIGNAL)
        deadline = time.monotonic() + _LAST_SECONDS
        # The main thread reaps them: only then is a number free.
        while _send(children, 0) and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
        _send(children, signal.SIGKILL)

    def _is_closed(self, pool: Prefork) -> bool:
        """Whether the main thread has closed the pool. An open one would start new children."""
        deadline = time.monotonic() + self._process.taskdb.settings.worker_exit_seconds
        while time.monotonic() < deadline:
            if getattr(pool._pool, "_state", RUN) != RUN:  # noqa: SLF001 - it has no other name
                return True
            time.sleep(_PAUSE_SECONDS)
        return False

    def _end_late(self) -> None:
        """End the process after `worker_exit_seconds`, since the shutdown may wait for a broker."""
        threading.main_thread().join(self._process.taskdb.settings.worker_exit_seconds)
        self._leave()

    def _leave(self) -> None:
        self._process.end()
        # Not by SystemExit, which would wait for threads.
        os._exit(EX_FAILURE)


def _pids(pool: Prefork) -> list[int]:
    # None once the main thread has joined it.
    children = getattr(pool._pool, "_pool", ())  # noqa: SLF001 - it has no other name
    return [child.pid for child in tuple(children) if child.pid is not None]


def _send(pids: list[int], number: int) -> bool:
    """Send a signal, 0 for none. Returns whether one of the processes still existed."""
    found = False
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            found = True
    return found
