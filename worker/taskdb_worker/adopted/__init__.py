"""Tasks of a Celery app that is only watched, on their way to rows."""
