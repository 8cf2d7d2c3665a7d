"""The processes of a worker: start, heartbeat, reports, shutdown."""
