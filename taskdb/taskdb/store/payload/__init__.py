"""Large inputs and results, stored beside the database."""
