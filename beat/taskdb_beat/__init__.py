"""What ticks: the loops that keep the promises."""

from taskdb_beat.command import run_beat
from taskdb_beat.relay import Relay

__all__ = ["Relay", "run_beat"]
