"""What is going on: `taskdb status`, `queues` and `workers`."""
