"""Removal of old rows, payloads and days of history."""
