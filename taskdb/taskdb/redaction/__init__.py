"""Removes secrets and control characters from texts before they leave the process."""
