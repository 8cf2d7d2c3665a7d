"""Measurements: each a ratio inside one run, or a count; absolute times mean nothing here."""
