"""Whether a task may start: limits, mutexes and pauses."""
