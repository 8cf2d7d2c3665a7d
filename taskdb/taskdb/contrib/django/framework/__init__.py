"""The backend of Django's task framework."""
