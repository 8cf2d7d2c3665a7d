"""Parents and their sub-tasks: fan-outs, sequences, handlers, callbacks."""
