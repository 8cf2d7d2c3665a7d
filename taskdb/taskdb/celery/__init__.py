"""The one place in this package that speaks Celery and kombu."""
