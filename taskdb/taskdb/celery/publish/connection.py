"""Connections to the broker for publishing.

Celery's own pools are shared by all code in a process that uses the same broker, and keep the
parent's sockets after a fork. These connections belong to one publisher in one process.
"""

# Kombu's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from celery import Celery
from kombu.messaging import Producer

from taskdb.celery.configuration import broker_kind, create_celery
from taskdb.celery.publish.message_pattern import Patterns
from taskdb.celery.refused_settings import is_json
from taskdb.errors import SettingsError
from taskdb.fork import renew_after_fork
from taskdb.settings.settings import Settings

_inherited: list[object] = []
"""Objects inherited through a fork, referenced here so that this process never closes them."""

_PATIENCE: dict[str, dict[str, Any]] = {
    "redis": {"socket_timeout": 2, "socket_connect_timeout": 1},
    "amqp": {"read_timeout": 3, "write_timeout": 3},
    "embedded": {"busy_timeout_seconds": 1},
}
"""Shorter timeouts than those of a worker: a publisher waits only for a reply."""


class BrokerConnections:
    """Open connections of this process, each used by one thread at a time."""

    def __init__(self, settings: Settings, app: Celery | None = None) -> None:
        self._settings = settings
        self._app = app
        self._patience = _PATIENCE.get(broker_kind(settings), {})
        self._idle: deque[tuple[Any, Any]] = deque()
        renew_after_fork(self)

    @property
    def app(self) -> Celery:
        """The Celery app that sends; a forked process gets its own."""
        if self._app is None:
            self._app = create_celery(self._settings)
        return self._app

    @property
    def has_idle(self) -> bool:
        """Whether there is an idle connection, which may have failed since its last use."""
        return bool(self._idle)

    @contextmanager
    def producer(self) -> Iterator[Any]:
        """Yield a kombu producer on its own connection; an error closes the connection."""
        connection, producer = self._take()
        try:
            yield producer
        except BaseException:
            _cut(connection)
            raise
        self._idle.append((connection, producer))

    def cut_idle(self) -> None:
        """Close every idle connection without a handshake: the broker may be frozen."""
        while self._idle:
            connection, _ = self._idle.pop()
            _cut(connection)

    def close(self) -> None:
        """Close the idle connections, and remove the app from Celery's list of apps."""
        self.cut_idle()
        if self._app is not None:
            self._app.close()
            self._app = None

    def after_fork(self) -> None:
        _inherited.append((self._app, self._idle))
        self._app = None
        self._idle = deque()

    def _take(self) -> tuple[Any, Any]:
        try:
            return self._idle.pop()
        except IndexError:
            connection = self.app.connection_for_write(transport_options=self._patience)
            return connection, _Producer(connection, auto_declare=False)


class _Producer(Producer):
    """Declares a queue once; kombu copies it for each message to check that.

    It also keeps the last body with its publish options (`sent`), and the patterns of the
    current batch. `is_speaking` is set once the message is made: from then on an error may be one
    of the connection. `declaring` is the entity that is being declared for the message. A
    declaration that the broker refused for one message (`undeclared`) is refused for the next
    without another request (`is_remembering`).
    """

    patterns: Patterns
    sent: tuple[Any, dict[str, Any]]
    undeclared: Mapping[tuple[str, str], Exception]
    declaring: tuple[str, str] | None = None
    is_speaking = False
    is_remembering = False

    def begin(self) -> None:
        """Reset the state before the next message is made."""
        self.declaring, self.is_speaking, self.is_remembering = None, False, False

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._declared: dict[str, Any] = {}

    @property
    def is_beyond_frame(self) -> bool:
        """Whether the headers of the last message exceed the broker's frame size.

        RabbitMQ then closes the connection, or stops reading.
        """
        most = getattr(self.channel.connection, "frame_max", None)
        return most is not None and len(str(self.sent[1].get("headers"))) > most

    def publish(self, body: Any, *arguments: Any, **options: Any) -> Any:
        """Publish a message; raises SettingsError for a serializer that workers do not read."""
        serializer = options.get("serializer") or "json"
        if not is_json(serializer):
            raise SettingsError(
                f"a route in `task_routes` has the serializer {serializer!r}, and workers read "
                "JSON only. Leave it out"
            )
        self.sent = (body, options)
        self.is_speaking = True
        return super().publish(body, *arguments, **options)

    def maybe_declare(self, entity: Any, *arguments: Any, **keywords: Any) -> Any:
        name = getattr(entity, "name", None)
        if name and self._declared.get(name) is entity:
            return
        kind = (type(entity).__name__, str(name))
        if kind in self.undeclared:
            self.is_remembering = True
            raise self.undeclared[kind]
        self.declaring = kind
        super().maybe_declare(entity, *arguments, **keywords)
        self.declaring = None
        if name and entity.can_cache_declaration:
            self._declared[name] = entity


def _cut(connection: Any) -> None:
    # An error while a failed connection is closed must not hide the first error.
    with suppress(Exception):
        raw = connection._connection  # noqa: SLF001 - asking in public would connect
        if hasattr(raw, "collect"):
            # AMQP closes with a handshake, to which a frozen broker never replies.
            raw.collect()
        connection.release()
