"""Publishing: committed rows become messages."""
