"""Rows of schedules, and how beats fire them."""
