"""Rows of alarms: found in the history, announced, delivered, changed by people."""
