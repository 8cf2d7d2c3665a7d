"""Changes of many tasks by one call."""
