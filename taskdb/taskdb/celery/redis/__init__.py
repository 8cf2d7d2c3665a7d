"""Kombu's transport for Redis, as this package changes it."""
