"""Alarms as values: the declaration, the row, and its deliveries."""

from taskdb.model.alarm.alarm import (
    Alarm,
    AlarmDelivery,
    AlarmEntity,
    AlarmSource,
    AlarmState,
    Severity,
)

__all__ = ["Alarm", "AlarmDelivery", "AlarmEntity", "AlarmSource", "AlarmState", "Severity"]
