"""The loops of a beat."""
