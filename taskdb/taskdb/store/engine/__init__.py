"""The basis of all SQL: connections, dialects, tables and migrations."""
