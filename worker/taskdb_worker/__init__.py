"""A Celery worker for task types, and the signals that keep the row true."""

from taskdb_worker.adopt import track, untrack
from taskdb_worker.app import create_app

__all__ = ["create_app", "track", "untrack"]
