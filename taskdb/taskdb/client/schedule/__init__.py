"""Schedules of the client: created by hand, or declared by code and settings."""
