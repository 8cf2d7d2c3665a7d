"""The settings, and the one place that reads the environment."""
