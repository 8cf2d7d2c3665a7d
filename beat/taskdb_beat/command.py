"""The beat's command, which the command line reaches through its entry point."""

from __future__ import annotations

import signal
import threading
from contextlib import closing
from types import FrameType

from taskdb.client.taskdb import TaskDB
from taskdb.logger import get_logger
from taskdb.logging import configure_logging
from taskdb.outgoing.deliverer import alarm_deliverer
from taskdb.settings.settings import Settings
from taskdb_beat.loops.alarm import Fold, PruneAlarms, Watch
from taskdb_beat.loops.callback import Callbacks
from taskdb_beat.loops.deliver import Deliver
from taskdb_beat.loops.expire import Expire
from taskdb_beat.loops.loop import Loop
from taskdb_beat.loops.partitions import INTERVAL_SECONDS, Upkeep
from taskdb_beat.loops.presence import Presence
from taskdb_beat.loops.prune import Prune, Sweep
from taskdb_beat.loops.reconcile import Reconcile
from taskdb_beat.loops.relay import Relay
from taskdb_beat.loops.release import Release
from taskdb_beat.loops.requeue import Requeue
from taskdb_beat.loops.rescue import Rescue
from taskdb_beat.observation import observe
from taskdb_beat.schedule.schedule import FireSchedules

log = get_logger("taskdb.beat")

_STOP_SECONDS = 10.0
_MENDING_PASSES = 200
"""The most passes of one loop in a call of `mend`."""


def run_beat(site: Settings | TaskDB) -> int:
    """Run the loops until SIGTERM or SIGINT. Returns the exit code. Call it in the main thread.

    `site` is a client, or the settings of one. Raises SettingsError if it is to serve HTTP and
    cannot.
    """
    taskdb = site if isinstance(site, TaskDB) else TaskDB(site)
    configure_logging(taskdb.settings)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with taskdb:
        loops = [*loops_of(taskdb), schedule_loop(taskdb)]
        observation = observe(taskdb, loops)
        for loop in loops:
            loop.start()
        observation.start()
        log.info("beat.started", loops=[loop.name for loop in loops])
        stop.wait()
        observation.stop()
        for loop in loops:
            loop.let_end()
        for loop in loops:
            loop.stop(_STOP_SECONDS)
    log.info("beat.stopped")
    return 0


def mend(taskdb: TaskDB) -> None:
    """Run each loop that mends rows in this thread, until it finds no more or has had its passes.

    An error of one loop is logged and stops no other.
    """
    taskdb.store.aside.try_now()
    loops = mending_loops_of(taskdb, is_whole=True)
    for loop in [*loops, *alarm_loops_of(taskdb)]:
        for _ in range(_MENDING_PASSES):
            if not loop.run_once():
                break
    with closing(alarm_deliverer(taskdb.settings, taskdb.store)) as deliverer:
        deliverer.run_once()
        deliverer.settle()


def loops_of(taskdb: TaskDB) -> list[Loop]:
    """Return every loop of a beat, except the one that fires schedules."""
    settings, store = taskdb.settings, taskdb.store
    deliver = Deliver(settings, store)
    interval = settings.notify_interval_seconds
    presence = Presence(settings, store)
    return [
        Loop("presence", presence.run_once, settings.heartbeat_seconds, close=presence.close),
        *mending_loops_of(taskdb),
        Loop("deliver", deliver.run_once, interval, close=deliver.close),
        *alarm_loops_of(taskdb),
        Loop("prune", Prune(settings, store).run_once, settings.prune_interval_seconds),
        Loop("sweep", Sweep(settings, store).run_once, settings.prune_interval_seconds),
        Loop(
            "prune_alarms", PruneAlarms(settings, store).run_once, settings.prune_interval_seconds
        ),
    ]


def alarm_loops_of(taskdb: TaskDB) -> list[Loop]:
    """Return the loops that find failures and conditions, and write the messages of alarms."""
    settings, store = taskdb.settings, taskdb.store
    return [
        Loop("fold", Fold(settings, store).run_once, settings.alarm_interval_seconds),
        Loop("watch", Watch(settings, store).run_once, settings.alarm_watch_interval_seconds),
    ]


def mending_loops_of(taskdb: TaskDB, *, is_whole: bool = False) -> list[Loop]:
    """Return the loops that bring rows forward, without those that delete.

    With `is_whole` their passes continue until all rows were checked.
    """
    settings, store = taskdb.settings, taskdb.store
    relay = Relay(settings, store, taskdb.publisher)
    release = Release(settings, store, taskdb.publisher)
    rescue = Rescue(settings, store)
    requeue = Requeue(settings, store, taskdb.publisher)
    reconcile = Reconcile(store, is_whole=is_whole)
    upkeep = Upkeep(store)
    return [
        Loop("relay", relay.run_once, settings.relay_interval_seconds),
        Loop("release", release.run_once, settings.release_interval_seconds),
        Loop("rescue", rescue.run_once, settings.rescue_interval_seconds),
        Loop("reconcile", reconcile.run_once, settings.reconcile_interval_seconds),
        Loop("requeue", requeue.run_once, settings.reconcile_interval_seconds),
        Loop("expire", Expire(store).run_once, settings.expire_interval_seconds),
        Loop("callbacks", Callbacks(store).run_once, settings.reconcile_interval_seconds),
        Loop("upkeep", upkeep.run_once, INTERVAL_SECONDS, upkeep.seconds_to_next),
    ]


def schedule_loop(taskdb: TaskDB) -> Loop:
    """Return the loop that declares limits, alarms and schedules once, and fires schedules."""
    schedules = FireSchedules(taskdb)
    interval = taskdb.settings.schedule_interval_seconds
    return Loop("schedule", schedules.run_once, interval, schedules.seconds_to_due)
