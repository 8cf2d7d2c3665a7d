"""Rows of subscriptions, and the history that their targets get."""
