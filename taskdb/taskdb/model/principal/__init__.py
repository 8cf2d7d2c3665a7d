"""The caller: its origin, its address, and its permissions."""
