"""Every public call of a client, and the parameters that a caller fills."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from taskdb import TaskDB
from taskdb.client.schedules import ScheduleOptions
from taskdb.client.submission.options import Criteria, SubmitOptions
from taskdb.client.subscriptions import SubscriptionOptions

ID = "01890a5d-ac96-774b-bcce-b302099a8057"

CALLS: Mapping[str, Mapping[str, Any]] = {
    # What each call is given where nothing hostile stands.
    "submit_task": {"type": "echo", "input": 1},
    "submit_many": {"type": "echo", "inputs": [1]},
    "submit_fan_out": {"type": "echo", "items": [1], "on_join": "echo", "timeout": 60},
    "submit_sequence": {"sequence": "steps", "payload": 1, "timeout": 60},
    "get_task": {"reference": ID},
    "list_tasks": {"limit": 5, "cursor": None, "order": "newest"},
    "task_history": {"reference": ID},
    "task_attempts": {"reference": ID},
    "explain_task": {"reference": ID},
    "read_payload": {"reference": ID, "side": "result"},
    "cancel_task": {"reference": ID},
    "retry_task": {"reference": ID},
    "cancel_tasks": {"type": "no such"},
    "retry_tasks": {"type": "no such"},
    "resume_task": {"token": "cb_x", "output": None, "error": "why"},
    "wait": {"reference": ID, "timeout": 0},
    "sub_tasks": {"reference": ID, "role": None},
    "sub_task_results": {"reference": ID, "role": None},
    "sub_task_counts": {"reference": ID},
    "list_sub_tasks": {"reference": ID},
    "sequence_progress": {"reference": ID},
    "step_results": {"reference": ID},
    "for_tenant": {"tenants": "acme"},
    "pause": {"tenant": "held", "reason": "r", "by": "b"},
    "resume": {"tenant": "held"},
    "set_limit": {"type": "limited", "max_starts": 1, "per": 60, "by": "b"},
    "clear_limit": {"type": "limited"},
    "add_schedule": {"name": "s", "type": "echo", "cron": "0 0 * * *", "replace": True},
    "check_schedule": {"name": "s", "type": "echo", "cron": "0 0 * * *"},
    "list_schedules": {"tenant": None, "origin": None},
    "get_schedule": {"reference": "s", "tenant": None},
    "pause_schedule": {"reference": "s", "tenant": None},
    "resume_schedule": {"reference": "s", "tenant": None},
    "run_schedule_now": {"reference": "no such", "tenant": None},
    "remove_schedule": {"reference": "no such", "tenant": None},
    "schedule_runs": {"reference": "s", "tenant": None},
    "preview_schedule": {"reference": "s", "tenant": None},
    "preview": {"schedule": "0 0 * * *"},
    "add_subscription": {"name": "n", "transport": "redis", "target": "t"},
    "list_subscriptions": {"tenant": None, "state": None},
    "get_subscription": {"reference": "n", "tenant": None},
    "try_subscription": {"reference": "no such", "tenant": None},
    "pause_subscription": {"reference": "n", "tenant": None},
    "resume_subscription": {"reference": "n", "tenant": None},
    "replay_subscription": {"reference": "n", "start": "now", "tenant": None},
    "rotate_subscription_secret": {"reference": "hook", "overlap": timedelta(1), "tenant": None},
    "remove_subscription": {"reference": "no such", "tenant": None},
    "list_alarms": {"state": (), "tenant": None, "type": None},
    "get_alarm": {"reference": ID},
    "alarm_deliveries": {"reference": ID},
    "acknowledge_alarm": {"reference": ID, "by": "b", "note": "n"},
    "snooze_alarm": {"reference": ID, "until": 60, "by": "b"},
    "resolve_alarm": {"reference": ID, "by": "b", "note": "n"},
    "alarm_errors": {"alarm_ids": [ID]},
    "undelivered_alarms": {"limit": 5},
    "test_alarm_channel": {"channel": "no such"},
    "add_alarm_route": {"to": "log", "tenant": "t", "type": "t", "by": "b"},
    "remove_alarm_route": {"route_id": ID},
}
OPTIONS: Mapping[str, Any] = {
    **dict.fromkeys(("submit_task", "submit_many", "submit_fan_out"), SubmitOptions),
    "submit_sequence": SubmitOptions,
    **dict.fromkeys(("list_tasks", "cancel_tasks", "retry_tasks"), Criteria),
    **dict.fromkeys(("add_schedule", "check_schedule"), ScheduleOptions),
    "add_subscription": SubscriptionOptions,
}
"""Calls whose further options stand in a dictionary of types."""


def parameters(name: str) -> list[str]:
    """Those of a call that a caller fills."""
    options = OPTIONS.get(name)
    return list(dict.fromkeys([*CALLS[name], *(options.__annotations__ if options else ())]))


def call(client: TaskDB, name: str, given: Mapping[str, Any]) -> Any:
    values = dict(given)
    if name == "for_tenant":
        return client.for_tenant(values["tenants"])
    if "at" in values or "every" in values:
        values.pop("cron", None)
    if name in {"pause", "resume", "set_limit", "clear_limit"}:
        named = [one for one in ("queue", "type", "tenant") if one in values]
        for one in named[:-1]:
            del values[one]
    return getattr(client, name)(**values)
