"""The caller of a client, and the actor that is recorded with each change."""
