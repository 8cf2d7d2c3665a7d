"""Waits for tasks: one thread of a process polls for all of them."""
