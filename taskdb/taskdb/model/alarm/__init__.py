"""Alarms as values."""
