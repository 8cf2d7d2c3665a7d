"""The embedded broker: messages in one SQLite file."""
