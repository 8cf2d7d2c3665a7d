"""Lines to the broker, for publishing.

Celery's own pools are shared by everything in a process that names the same broker, and survive a
fork with the parent's sockets in them. These belong to one publisher in one process.
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
"""What a forked process got from its parent, held so that nothing here ever closes it."""

_PATIENCE: dict[str, dict[str, Any]] = {
    "redis": {"socket_timeout": 2, "socket_connect_timeout": 1},
    "amqp": {"read_timeout": 3, "write_timeout": 3},
    "embedded": {"busy_timeout_seconds": 1},
}
"""A worker waits for messages; who publishes waits for an answer only."""


class Lines:
    """Open lines of this process, each used by one thread at a time."""

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
        """A line was used before, and may have died since."""
        return bool(self._idle)

    @contextmanager
    def producer(self) -> Iterator[Any]:
        """A kombu producer on a line of its own; after an error the line is cut."""
        connection, producer = self._take()
        try:
            yield producer
        except BaseException:
            _cut(connection)
            raise
        self._idle.append((connection, producer))

    def cut_idle(self) -> None:
        """Cut every line that is not in use, without a word: the broker may be frozen."""
        while self._idle:
            connection, _ = self._idle.pop()
            _cut(connection)

    def close(self) -> None:
        """Cut the idle lines and leave Celery's list of apps."""
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
    """Declares a queue once; kombu copies it for each message, to see that it has.

    And it remembers the body of its last message, with the options that it was published with,
    and the patterns of the batch that is being sent. `is_speaking` is whether the message that is
    being sent is made, so that an error may be one of the connection; `declaring` what is being
    declared for it. What the broker refused to declare for one message (`undeclared`) is refused
    for the next without asking (`is_remembering`).
    """

    patterns: Patterns
    sent: tuple[Any, dict[str, Any]]
    undeclared: Mapping[tuple[str, str], Exception]
    declaring: tuple[str, str] | None = None
    is_speaking = False
    is_remembering = False

    def begin(self) -> None:
        """Another message is going to be made."""
        self.declaring, self.is_speaking, self.is_remembering = None, False, False

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._declared: dict[str, Any] = {}

    @property
    def is_beyond_frame(self) -> bool:
        """Whether the headers of the last message are longer than the broker lets a frame be.

        RabbitMQ then closes the connection, or reads no further.
        """
        most = getattr(self.channel.connection, "frame_max", None)
        return most is not None and len(str(self.sent[1].get("headers"))) > most

    def publish(self, body: Any, *arguments: Any, **options: Any) -> Any:
        """Publish a message; raises SettingsError for one that no worker would read."""
        serializer = options.get("serializer") or "json"
        if not is_json(serializer):
            message = (
                f"a route in `task_routes` has the serializer {serializer!r}, and workers read "
                "JSON only. Leave it out"
            )
            raise SettingsError(message)
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
    # Whatever goes wrong while a broken line is put away, its error is the one that counts.
    with suppress(Exception):
        raw = connection._connection  # noqa: SLF001 - asking in public would connect
        if hasattr(raw, "collect"):
            # AMQP ends with a handshake, which a frozen broker never answers.
            raw.collect()
        connection.release()
