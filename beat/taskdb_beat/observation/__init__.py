"""What a beat says of itself and of the rows, over HTTP: health, readiness and figures."""

from taskdb_beat.observation.observation import Observation, observe

__all__ = ["Observation", "observe"]
