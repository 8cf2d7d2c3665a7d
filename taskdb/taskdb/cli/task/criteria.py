"""The options that choose tasks, the same for `list`, `cancel` and `retry`."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast

from taskdb.cli.id_option import IdOf
from taskdb.cli.signature import Option, with_options
from taskdb.cli.time_option import before_now
from taskdb.cli.usage import wrong_usage
from taskdb.client.criteria import Criteria
from taskdb.model.entity import TaskKind, TaskRole
from taskdb.model.reference import parse_reference

_PANEL = "Which tasks"
_SEVERAL = list[str] | None
_OPTIONS = {
    "type": Option("Only this task type."),
    "status": Option("In this status; may be repeated.", _SEVERAL, "STATUS", ("--status", "-s")),
    "queue": Option("On this queue."),
    "tag": Option("With this tag."),
    "parent": Option(
        "Sub-tasks of this task.", Annotated[str | None, IdOf("taskdb_task")], metavar="ID"
    ),
    "kind": Option("Only this kind.", metavar="|".join(TaskKind)),
    "role": Option("Sub-tasks of this role.", metavar="|".join(TaskRole)),
    "unique_key": Option("With this unique key."),
    "request_id": Option("Of this request id."),
    "created_by": Option("Created by this user or program."),
    "since": Option("Created since; 2h: two hours ago.", metavar="MOMENT"),
    "before": Option("Created before.", metavar="MOMENT"),
    "search": Option("With this text in name, type, unique key, request id."),
    "attribute": Option("With this attribute; may be repeated.", _SEVERAL, "NAME=VALUE"),
    "adopted": Option(
        "Only adopted tasks of Celery apps, or only all others.",
        bool | None,
        None,
        ("--adopted/--owned",),
    ),
    "with_sub_tasks": Option("Include sub-tasks.", bool, None, ("--with-sub-tasks",)),
}


def criteria_of(values: dict[str, Any]) -> Criteria:
    """The criteria of these options. Raises InvalidInput."""
    found: dict[str, Any] = {
        name: value for name, value in values.items() if value is not None and value != []
    }
    since, before = found.pop("since", None), found.pop("before", None)
    if since is not None:
        found["created_from"] = before_now(since, "--since")
    if before is not None:
        found["created_before"] = before_now(before, "--before")
    if "parent" in found:
        found["parent_id"] = _id_of(found.pop("parent"))
    if "attribute" in found:
        found["attributes"] = dict(_attribute(one) for one in found.pop("attribute"))
    if "role" in found:
        found["with_sub_tasks"] = True
    if not found.get("with_sub_tasks"):
        found.pop("with_sub_tasks", None)
    return cast("Criteria", found)


def _id_of(reference: str) -> str:
    place = parse_reference(reference)
    if place is None or place.position is not None:
        raise wrong_usage("--parent", f"{reference!r} is neither the id nor the code of a task")
    return place.id


def _attribute(spelled: str) -> tuple[str, Any]:
    name, equals, value = spelled.partition("=")
    if not equals or not name:
        raise wrong_usage("--attribute", f"{spelled!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


with_criteria = with_options(_OPTIONS, _PANEL, instead_of="wanted", read=criteria_of)
"""Gives a command the options that choose tasks; it gets them as `wanted`."""
