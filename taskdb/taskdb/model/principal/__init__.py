"""The caller: who submits, from where, and what the application lets it do."""
