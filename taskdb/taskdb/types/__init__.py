"""The declarations of a user: task types and sequences; and the context of a body."""
