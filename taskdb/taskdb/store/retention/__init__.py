"""Removal of rows, payloads and days of history that are old enough."""
