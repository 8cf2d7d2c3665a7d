"""The beat's HTTP pages: health, readiness and metrics."""

from taskdb_beat.observation.observation import Observation, observe

__all__ = ["Observation", "observe"]
