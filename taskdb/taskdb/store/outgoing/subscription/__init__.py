"""Subscriptions as rows, and the history that they are sent."""
