"""Messages made after one that Celery made: to make each by itself takes longer than to send it.

What differs between two messages for tasks of one type and one parent is the id, and what we add
to the headers. All else is Celery's to decide, by its settings and routes, so it makes the first.
"""

# Celery has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from celery import Celery, signals
from kombu.serialization import dumps

_OWN = ("headers", "correlation_id", "serializer")
"""What a message has for itself of the options of a publish, or has had done already."""


class Patterns:
    """The patterns of one batch, by what their messages have in common.

    None are kept where someone wants to see, or to change, how each message is made.
    """

    def __init__(self, app: Celery) -> None:
        self._first: dict[Hashable, tuple[str, Any, Mapping[str, Any]]] = {}
        self._made: dict[Hashable, Pattern] = {}
        self._may_keep = _is_watched_by_nobody(app)

    def get(self, kind: Hashable) -> Pattern | None:
        """The pattern of this kind, made when a second message wants it: most submits have one."""
        if kind not in self._made and kind in self._first:
            self._made[kind] = Pattern(*self._first[kind])
        return self._made.get(kind)

    def keep(self, kind: Hashable, name: str, body: Any, options: Mapping[str, Any]) -> None:
        """Let others be made after this message of a task of this name."""
        if self._may_keep:
            self._first[kind] = (name, body, options)


class Pattern:
    """A message as Celery has published it."""

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
        """Publish another one: its id, and what is added to the headers by the same names."""
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
    """Whether Celery would do no more for a message than to make it and to tell of it."""
    return not (
        signals.before_task_publish.receivers
        or signals.task_sent.receivers
        or app.conf.task_send_sent_event
        # Whoever measures Celery from outside puts something around this.
        or hasattr(Celery.send_task, "__wrapped__")
        or hasattr(app.send_task, "__wrapped__")
    )
