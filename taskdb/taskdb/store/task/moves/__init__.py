"""Every statement that moves the row of a task."""
