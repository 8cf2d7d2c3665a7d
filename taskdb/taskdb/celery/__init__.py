"""The only package here that uses Celery and kombu directly."""
