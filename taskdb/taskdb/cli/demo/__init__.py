"""`taskdb demo`."""
