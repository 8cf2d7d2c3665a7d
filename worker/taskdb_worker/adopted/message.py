"""The fields of a Celery message that a row shows, from either protocol or from a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from taskdb.model.adopted import CELERY_ID
from taskdb.model.bounds import bounded
from taskdb.model.reference import adopted_id

EAGER = "celery_is_eager"
_DELAYED = re.compile(r"^(?:[01]\.)+")
"""The prefix that native delayed delivery adds to a routing key: the bits of the delay."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was sent, or that a worker got."""

    celery_id: str
    type: str
    args: Any
    kwargs: Any
    retries: int
    eta: datetime | None
    expires_at: datetime | None
    links: dict[str, Any]
    """Ids around it: the task that sent it, the first of its chain, its group."""

    @property
    def is_eager(self) -> bool:
        """Whether it runs in the process that called it: no worker's main process knows of it."""
        return EAGER in self.links

    @property
    def id(self) -> str:
        """The id of its row."""
        return adopted_id(self.celery_id)


def published(body: Any, headers: Mapping[str, Any] | None) -> Message | None:
    """Return the message of an `after_task_publish` signal, or None if it is not of a task."""
    if isinstance(body, tuple | list) and headers:
        return _message(headers, headers.get("task"), body[0], body[1])
    if isinstance(body, Mapping):
        return _message(body, body.get("task"), body.get("args"), body.get("kwargs"))
    return None


def delivered(request: Any, type_name: str) -> Message | None:
    """Return the message of a request in a worker, or of an eager call."""
    return _message(vars(request), type_name, request.args, request.kwargs)


def _message(fields: Mapping[str, Any], name: Any, args: Any, kwargs: Any) -> Message | None:
    celery_id = fields.get("id")
    if not isinstance(celery_id, str) or not celery_id or not isinstance(name, str) or not name:
        return None
    retries = fields.get("retries") or 0
    return Message(
        celery_id=celery_id,
        type=name,
        args=args,
        kwargs=kwargs,
        retries=retries if isinstance(retries, int) else 0,
        eta=moment_of(fields.get("eta")),
        expires_at=moment_of(fields.get("expires")),
        links=_links(celery_id, fields),
    )


def _links(celery_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if adopted_id(celery_id) != celery_id:
        found[CELERY_ID] = celery_id
    around = {
        "celery_root_id": fields.get("root_id"),
        "celery_parent_id": fields.get("parent_id"),
        "celery_group_id": fields.get("group") or fields.get("taskset"),
    }
    found |= {
        name: value
        for name, value in around.items()
        if isinstance(value, str) and value != celery_id
    }
    if fields.get("expires"):
        found["celery_expires"] = str(fields["expires"])[:64]
    if fields.get("is_eager"):
        found[EAGER] = True
    return found


def moment_of(value: Any) -> datetime | None:
    """Parse a moment of a message. Without a zone it is in UTC, Celery's default.

    A moment that is out of bounds becomes the nearest one within: it means "never" or "at once".
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return bounded(value.replace(tzinfo=UTC) if value.tzinfo is None else value)


def queue_of(exchange: Any, routing_key: Any) -> str:
    """Return the queue of a message, as far as its address shows it."""
    key = routing_key if isinstance(routing_key, str) else ""
    name = exchange if isinstance(exchange, str) else getattr(exchange, "name", "")
    if name and name.startswith("celery_delayed_"):
        return _DELAYED.sub("", key)
    return key
