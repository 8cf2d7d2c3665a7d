"""`taskdb check`."""
