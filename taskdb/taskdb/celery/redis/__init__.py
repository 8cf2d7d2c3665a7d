"""Kombu's transport for Redis, as this package uses it."""
