"""Copies a message that Celery made: making each message takes longer than sending it.

Two messages for tasks of one type and one parent differ only in the id and in our additions to
the headers. Celery decides the rest, by its settings and routes, so it makes the first message.
"""

# Celery has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from celery import Celery, signals
from kombu.serialization import dumps

_OWN = ("headers", "correlation_id", "serializer")
"""Publish options that each message sets itself, or that have already been applied."""


class Patterns:
    """The patterns of one batch, by the common properties of their messages.

    No pattern is kept if a signal receiver or a wrapper must see how each message is made.
    """

    def __init__(self, app: Celery) -> None:
        self._first: dict[Hashable, tuple[str, Any, Mapping[str, Any]]] = {}
        self._made: dict[Hashable, Pattern] = {}
        self._may_keep = _is_watched_by_nobody(app)

    def get(self, kind: Hashable) -> Pattern | None:
        """Return the pattern of this kind, made for its second message: most submits have one."""
        if kind not in self._made and kind in self._first:
            self._made[kind] = Pattern(*self._first[kind])
        return self._made.get(kind)

    def keep(self, kind: Hashable, name: str, body: Any, options: Mapping[str, Any]) -> None:
        """Remember this message of a task of this name as the model of further ones."""
        if self._may_keep:
            self._first[kind] = (name, body, options)


class Pattern:
    """A message as Celery published it."""

    def __init__(self, name: str, body: Any, options: Mapping[str, Any]) -> None:
        self._name = name
        self._body = body
        self._headers = options["headers"]
        self._is_root = self._headers["root_id"] == self._headers["id"]
        kind, encoding, self._spelled = dumps(body, serializer=options["serializer"])
        self._options = {
            **{option: value for option, value in options.items() if option not in _OWN},
            "content_type": kind,
            "content_encoding": encoding,
        }

    def send(self, producer: Any, message_id: str, added: Mapping[str, Any]) -> None:
        """Publish a copy with another id; `added` headers replace those of the same name."""
        headers = {**self._headers, "id": message_id, **added}
        if self._is_root:
            headers["root_id"] = message_id
        with producer.connection._reraise_as_library_errors():  # noqa: SLF001 - as Celery does
            producer.publish(
                self._spelled, headers=headers, correlation_id=message_id, **self._options
            )
        if signals.after_task_publish.receivers:
            signals.after_task_publish.send(
                sender=self._name,
                body=self._body,
                headers=headers,
                exchange=self._options["exchange"],
                routing_key=self._options["routing_key"],
            )


def _is_watched_by_nobody(app: Celery) -> bool:
    """Whether Celery would only make and announce the message, with no other effect."""
    return not (
        signals.before_task_publish.receivers
        or signals.task_sent.receivers
        or app.conf.task_send_sent_event
        # Instrumentation of Celery wraps this method.
        or hasattr(Celery.send_task, "__wrapped__")
        or hasattr(app.send_task, "__wrapped__")
    )
