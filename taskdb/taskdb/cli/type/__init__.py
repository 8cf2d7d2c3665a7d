"""Commands on task types and sequences."""
