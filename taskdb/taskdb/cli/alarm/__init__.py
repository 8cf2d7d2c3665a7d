"""Commands on alarms and their routes."""
