"""Alarms as rows: found in the history, announced, delivered, changed by people."""
