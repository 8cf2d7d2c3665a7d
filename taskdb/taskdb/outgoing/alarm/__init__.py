"""The delivery of alarms, for workers, beats and the command line."""
