"""Rows of tasks that Celery runs without this package."""
