"""Presenters of alarms, their messages and routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskdb.cli.document import document_of
from taskdb.cli.presenter import Field, Presenter, column
from taskdb.cli.value_text import moment_text, relative
from taskdb.model.alarm.alarm import AlarmDelivery, AlarmEntity
from taskdb.model.alarm.route import Route


def alarm_presenter(errors: Mapping[str, str] | None = None) -> Presenter[AlarmEntity]:
    """Return the presenter of alarms. `errors`: the last errors of unsent messages, by alarm id.

    An error is empty if no message was tried yet.
    """
    waiting = {alarm_id: error or "not tried yet" for alarm_id, error in (errors or {}).items()}

    def sent_to(alarm: AlarmEntity) -> str | None:
        if alarm.is_routed is not False and alarm.id in waiting:
            return f"not yet: {waiting[alarm.id]}"
        return _channels(alarm)

    def document(alarm: AlarmEntity) -> dict[str, Any]:
        undelivered = {"undelivered": waiting[alarm.id]} if alarm.id in waiting else {}
        return {**document_of(alarm), **undelivered}

    return Presenter(
        Field("alarm", lambda alarm: alarm.id, column="ALARM"),
        Field("fingerprint"),
        Field("state", column="STATE"),
        Field("severity", column="SEVERITY"),
        Field("what", lambda alarm: alarm.source),
        Field("type"),
        Field("error", lambda alarm: alarm.error_type),
        Field("where", lambda alarm: alarm.place),
        Field("tenant", lambda alarm: "all together" if alarm.tenant is None else alarm.tenant),
        Field("message"),
        Field("count", _count, column="COUNT", cell=lambda alarm: alarm.count),
        Field("first seen", lambda alarm: alarm.first_seen_at),
        Field(
            "last seen",
            lambda alarm: alarm.last_seen_at,
            column="SEEN",
            cell=lambda alarm: relative(alarm.last_seen_at),
        ),
        column("WHAT", _subject),
        Field("regression", lambda alarm: _REGRESSION if alarm.is_regression else None),
        Field("snoozed until"),
        Field("resolved", lambda alarm: alarm.resolved_at),
        Field("by", lambda alarm: alarm.acted_by),
        Field("note"),
        Field("sent to", _channels, column="SENT TO", cell=sent_to),
        Field("tasks", lambda alarm: alarm.task_ids),
        document=document,
    )


_REGRESSION = "yes: it was resolved before"


def _count(alarm: AlarmEntity) -> str:
    return f"{alarm.count:,} ({alarm.reported:,} of them sent)"


def _subject(alarm: AlarmEntity) -> str:
    again = " (again)" if alarm.is_regression else ""
    return f"{alarm.subject}: {alarm.error_type or alarm.source}{again}"


def _channels(alarm: AlarmEntity) -> str | None:
    channels = ", ".join(alarm.channels)
    if alarm.is_routed is not False:
        return channels or None
    if channels:
        return f"{channels}; the operator: no route takes it"
    return "nobody: no route takes it"


ALARM = alarm_presenter()

DELIVERY = Presenter[AlarmDelivery](
    column("MESSAGE", lambda sent: f"{sent.sequence} {sent.kind}"),
    column("CHANNEL", lambda sent: sent.channel),
    column("COUNT", lambda sent: sent.count),
    column("ATTEMPTS", lambda sent: sent.attempts),
    column(
        "SENT",
        lambda sent: (
            moment_text(sent.sent_at) if sent.sent_at else f"next try {relative(sent.next_try_at)}"
        ),
    ),
    column("LAST ERROR", lambda sent: sent.last_error),
)

ROUTE = Presenter[Route](
    column("ROUTE", lambda route: route.id or "(settings)"),
    column("OWNER", lambda route: "operator" if route.owner is None else repr(route.owner)),
    column("TO", lambda route: route.to),
    column("TENANT", lambda route: None if route.tenant is None else repr(route.tenant)),
    column("TYPE", lambda route: route.type),
    column("SEVERITY", lambda route: route.severity),
    column("SOURCE", lambda route: route.source),
    document=lambda route: {
        **document_of(route),
        "origin": "settings" if route.id is None else "row",
    },
)
