"""The values of this package: task, schedule, alarm and others. Pure: no input or output."""
