"""The client: what an application calls."""
