"""Schedules as values: their due times, and the due times that fire."""
