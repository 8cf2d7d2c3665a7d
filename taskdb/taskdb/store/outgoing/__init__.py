"""Rows of alarms and notifications."""
