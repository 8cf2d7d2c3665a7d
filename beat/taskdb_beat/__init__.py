"""Celery beat: schedules, and the loops that keep the promises."""

from taskdb_beat.command import run_beat
from taskdb_beat.loops.relay import Relay
from taskdb_beat.scheduler import DatabaseScheduler

__all__ = ["DatabaseScheduler", "Relay", "run_beat"]
