"""The values of this package: what a task, a schedule or an alarm is. Pure: no input or output."""
