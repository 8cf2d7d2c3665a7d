"""Large inputs and results, kept beside the database."""
