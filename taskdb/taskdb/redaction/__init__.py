"""Secrets and control characters are removed from texts before they leave the process."""
