"""Rows of schedules, and their firing."""
