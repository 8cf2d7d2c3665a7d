"""Every public call of a client, and the parameters that a caller fills."""

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Any

from taskdb import Settings, TaskDB
from taskdb.client.criteria import Criteria
from taskdb.client.schedule.schedules import ScheduleOptions
from taskdb.client.submission.options import SubmitOptions
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
    "payloads.read": {"reference": ID, "side": "result"},
    "cancel_task": {"reference": ID},
    "retry_task": {"reference": ID},
    "cancel_tasks": {"type": "no such"},
    "retry_tasks": {"type": "no such"},
    "resume_task": {"token": "cb_x", "output": None, "error": "why"},
    "wait_task": {"reference": ID, "timeout": 0},
    "trees.sub_tasks": {"reference": ID, "role": None},
    "trees.results": {"reference": ID, "role": None},
    "trees.counts": {"reference": ID},
    "trees.family": {"reference": ID},
    "trees.sequence_progress": {"reference": ID},
    "trees.step_results": {"reference": ID},
    "for_tenant": {"tenants": "acme"},
    "types.get": {"name": "echo"},
    "limits.pause": {"tenant": "held", "reason": "r", "by": "b"},
    "limits.resume": {"tenant": "held"},
    "limits.set": {"type": "limited", "max_starts": 1, "per": 60, "by": "b"},
    "limits.clear": {"type": "limited"},
    "schedules.create": {"name": "s", "type": "echo", "cron": "0 0 * * *", "replace": True},
    "schedules.check": {"name": "s", "type": "echo", "cron": "0 0 * * *"},
    "schedules.list": {"tenant": None, "origin": None},
    "schedules.get": {"reference": "s", "tenant": None},
    "schedules.pause": {"reference": "s", "tenant": None},
    "schedules.resume": {"reference": "s", "tenant": None},
    "schedules.run_now": {"reference": "no such", "tenant": None},
    "schedules.remove": {"reference": "no such", "tenant": None},
    "schedules.runs": {"reference": "s", "tenant": None},
    "schedules.due_times": {"reference": "s", "tenant": None},
    "schedules.preview": {"schedule": "0 0 * * *"},
    "subscriptions.create": {"name": "n", "transport": "redis", "target": "t"},
    "subscriptions.list": {"tenant": None, "state": None},
    "subscriptions.get": {"reference": "n", "tenant": None},
    "subscriptions.test": {"reference": "no such", "tenant": None},
    "subscriptions.pause": {"reference": "n", "tenant": None},
    "subscriptions.resume": {"reference": "n", "tenant": None},
    "subscriptions.replay": {"reference": "n", "start": "now", "tenant": None},
    "subscriptions.rotate_secret": {"reference": "hook", "overlap": timedelta(1), "tenant": None},
    "subscriptions.remove": {"reference": "no such", "tenant": None},
    "alarms.list": {"state": (), "tenant": None, "type": None},
    "alarms.get": {"reference": ID},
    "alarms.deliveries": {"reference": ID},
    "alarms.acknowledge": {"reference": ID, "by": "b", "note": "n"},
    "alarms.snooze": {"reference": ID, "until": 60, "by": "b"},
    "alarms.resolve": {"reference": ID, "by": "b", "note": "n"},
    "alarms.errors": {"alarm_ids": [ID]},
    "alarms.undelivered": {"limit": 5},
    "alarms.test_channel": {"channel": "no such"},
    "alarms.add_route": {"to": "log", "tenant": "t", "type": "t", "by": "b"},
    "alarms.remove_route": {"route_id": ID},
}
OPTIONS: Mapping[str, Any] = {
    **dict.fromkeys(("submit_task", "submit_many", "submit_fan_out"), SubmitOptions),
    "submit_sequence": SubmitOptions,
    **dict.fromkeys(("list_tasks", "cancel_tasks", "retry_tasks"), Criteria),
    **dict.fromkeys(("schedules.create", "schedules.check"), ScheduleOptions),
    "subscriptions.create": SubscriptionOptions,
}
"""Calls whose further options stand in a dictionary of types."""


PLACED = {"limits.pause", "limits.resume", "limits.set", "limits.clear"}
"""Calls that are for one of a queue, a type and a tenant."""


def parts_of(client: TaskDB) -> dict[str, Any]:
    """The parts of a client, by their names; each is walked as the client itself is."""
    return {
        name: part
        for name, part in vars(client).items()
        if not name.startswith("_") and type(part).__module__.startswith("taskdb.client.")
    }


def methods() -> dict[str, Callable[..., Any]]:
    """Every public method of a client and of its parts: `submit_task`, `schedules.create`."""
    # It opens nothing before it is used.
    walked = {"": TaskDB(Settings(database_url="sqlite:///unused.sqlite3"))}
    walked |= {f"{name}.": part for name, part in parts_of(walked[""]).items()}
    return {
        f"{place}{name}": member
        for place, one in walked.items()
        for name, member in inspect.getmembers(type(one), inspect.isfunction)
        if not name.startswith("_")
    }


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
    if name in PLACED:
        named = [one for one in ("queue", "type", "tenant") if one in values]
        for one in named[:-1]:
            del values[one]
    return attrgetter(name)(client)(**values)
