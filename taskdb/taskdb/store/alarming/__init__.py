"""Alarms as rows: read from the history, told, delivered, acted on."""
