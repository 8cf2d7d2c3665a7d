"""Commands that run worker and beat."""
