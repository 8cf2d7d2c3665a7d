"""The client: the calls of an application."""
