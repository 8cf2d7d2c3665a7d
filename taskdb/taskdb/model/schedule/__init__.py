"""Schedules as values: when one is due, and which due times fire."""
