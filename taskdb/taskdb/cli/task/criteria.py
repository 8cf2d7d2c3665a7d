"""The options that choose tasks, the same for `list`, `cancel` and `retry`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Annotated, Any, cast

import typer

from taskdb.cli.signature import with_parameters
from taskdb.cli.time_option import before_now
from taskdb.cli.usage import wrong_usage
from taskdb.client.criteria import Criteria
from taskdb.model.reference import parse_reference

_PANEL = "Which tasks"


def _option(help_text: str, *names: str, metavar: str = "TEXT") -> Any:
    return typer.Option(*names, help=help_text, metavar=metavar, rich_help_panel=_PANEL)


_Text = str | None
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "type": (Annotated[_Text, _option("Of this task type.", "--type")], None),
    "status": (
        Annotated[
            list[str] | None,
            _option("In this status; may be repeated.", "--status", "-s", metavar="STATUS"),
        ],
        None,
    ),
    "queue": (Annotated[_Text, _option("On this queue.", "--queue")], None),
    "tag": (Annotated[_Text, _option("With this tag.", "--tag")], None),
    "parent": (
        Annotated[_Text, _option("Sub-tasks of this task.", "--parent", metavar="ID")],
        None,
    ),
    "kind": (
        Annotated[_Text, _option("Of this kind.", "--kind", metavar="TASK|FAN_OUT|SEQUENCE")],
        None,
    ),
    "role": (
        Annotated[_Text, _option("Sub-tasks of this role.", "--role", metavar="part|step|handler")],
        None,
    ),
    "unique_key": (Annotated[_Text, _option("With this unique key.", "--unique-key")], None),
    "request_id": (Annotated[_Text, _option("Of this request.", "--request-id")], None),
    "created_by": (
        Annotated[_Text, _option("Created by this user or program.", "--created-by")],
        None,
    ),
    "since": (
        Annotated[_Text, _option("Created since; 2h: two hours ago.", "--since", metavar="MOMENT")],
        None,
    ),
    "before": (Annotated[_Text, _option("Created before.", "--before", metavar="MOMENT")], None),
    "search": (
        Annotated[_Text, _option("With this text in name, type, unique key, request id.")],
        None,
    ),
    "attribute": (
        Annotated[
            list[str] | None,
            _option("With this attribute; may be repeated.", metavar="NAME=VALUE"),
        ],
        None,
    ),
    "adopted": (
        Annotated[
            bool | None,
            typer.Option(
                "--adopted/--owned",
                help="Of Celery apps that are only watched; or the others.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "with_sub_tasks": (
        Annotated[
            bool, typer.Option("--with-sub-tasks", help="Sub-tasks too.", rich_help_panel=_PANEL)
        ],
        False,
    ),
}


def with_criteria(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command the options that choose tasks; it gets them as `wanted`."""

    @functools.wraps(command)
    def run(*arguments: Any, **values: Any) -> int | None:
        chosen = {name: values.pop(name) for name in _OPTIONS}
        return command(*arguments, wanted=criteria_of(chosen), **values)

    signature = with_parameters(command, _OPTIONS, instead_of="wanted")
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


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
        advice = f"{reference!r} is neither the id nor the code of a task"
        raise wrong_usage("--parent", advice)
    return place.id


def _attribute(spelled: str) -> tuple[str, Any]:
    name, equals, value = spelled.partition("=")
    if not equals or not name:
        advice = f"{spelled!r} is not NAME=VALUE"
        raise wrong_usage("--attribute", advice)
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
