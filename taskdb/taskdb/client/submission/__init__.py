"""A submit: its options, its drafts, and the transaction of the caller."""
