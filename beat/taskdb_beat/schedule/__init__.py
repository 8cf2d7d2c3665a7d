"""Schedules: fired, declared, and as entries of Celery's beat."""
