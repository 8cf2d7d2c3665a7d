"""The one SQL store: rows, their moves and their history, on PostgreSQL and SQLite."""
