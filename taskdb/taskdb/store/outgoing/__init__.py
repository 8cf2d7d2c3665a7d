"""Alarms and notifications as rows."""
