"""Waits for tasks: one thread of a process looks for all of them."""
