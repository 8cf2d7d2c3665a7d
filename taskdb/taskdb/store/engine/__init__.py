"""What SQL runs on: connections, dialects, tables and migrations."""
