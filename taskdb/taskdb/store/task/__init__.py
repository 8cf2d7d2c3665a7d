"""Rows of tasks: create, publish, claim, outcome, read, list."""
