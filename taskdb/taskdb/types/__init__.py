"""What a user declares: task types, sequences, and what a body gets."""
