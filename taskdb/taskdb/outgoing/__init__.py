"""Transports of outgoing messages: one module for each."""
