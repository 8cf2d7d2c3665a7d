"""How a message leaves this system; knows nothing of rows or tasks."""
