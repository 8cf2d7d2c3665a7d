"""The state of the site: `taskdb status`, `queues` and `workers`."""
