"""From failures to messages that arrive, for workers, beats and the command line."""
