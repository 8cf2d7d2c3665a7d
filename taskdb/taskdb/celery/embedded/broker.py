"""The embedded broker: a kombu transport that keeps messages in one SQLite file, with real acks.

``register()`` makes the scheme known to kombu; then any Celery app can use it::

    taskdb-sqlite:////absolute/path/messages.sqlite3
    taskdb-sqlite:///relative/to/the/working/directory/messages.sqlite3

(Percent-encode ``?``, ``#``, ``%`` and ``;`` in a path; ``broker_url`` does it.) All processes
must run on one machine: SQLite's WAL cannot be shared over a network.

Guarantees: a publish that returned survives the death of any process (for power loss, see
``file.py``). A message is leased to its consumer. The lease is renewed while the consumer
lives; an acknowledgement removes the message. The message returns to its queue at once when the
consumer rejects it or closes, and after ``lease_seconds`` when the consumer was killed. If a
connection closes or fails during a task, the message returns, as with every broker. Delivery is at
least once. Priorities are 0 to 9, 9 first, by arrival inside one; queues take turns. Routing is
direct, topic or fanout; the file keeps the bindings.

Remote control (``inspect``, broadcast) and events work between the processes of the machine. Their
queues are short-lived and bounded (``listener.py``). A message that has no listener is not stored.
Celery has no mingle and no gossip here. Message and queue TTLs of other queues are ignored.

``broker_transport_options``: ``lease_seconds`` (10), ``polling_interval`` in seconds (0.02),
``busy_timeout_seconds`` (30; how long to wait for another process's write). A process that only
publishes and must not wait sets ``busy_timeout_seconds`` to 1. The polling interval bounds how long
a message waits for an idle worker; a busy worker does not poll, as an acknowledgement wakes it.
With the defaults an idle worker uses about 2 % of one processor.

Settings of the app: ``task_acks_late``; ``worker_prefetch_multiplier`` 1 for long tasks, 4 for
short ones; ``worker_pool`` ``taskdb_worker.process.prefork:TaskPool``, else a busy worker may stop
30 s late (with any broker).
"""

# The methods inherited from kombu have no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import quote

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.utils.url import url_to_parts

from taskdb.celery.embedded.channel import Channel
from taskdb.celery.embedded.file import MessageFile, MessageFileError
from taskdb.celery.embedded.lease import HeldLeases
from taskdb.celery.embedded.messages import Messages

SCHEME = "taskdb-sqlite"
_LOOP_SHARE_SECONDS = 0.05
"""How long messages are delivered before the event loop does other work."""


def register() -> None:
    """Make ``taskdb-sqlite://`` URLs known to kombu and Celery in this process. Idempotent."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"


def broker_url(path: str | Path) -> str:
    """Return the broker URL of a message file; a relative path stays relative."""
    return f"{SCHEME}:///{quote(str(path))}"


def path_of(url: str) -> Path:
    """Return the absolute path of the message file that a broker URL names."""
    return Path(url_to_parts(url).path or "").absolute()


class Transport(virtual.Transport):
    """A transport and connection to one message file; kombu's virtual ones are both in one."""

    Channel = Channel

    #: Without it kombu would print the URL with a host and a masked password that do not exist.
    can_parse_url = True
    driver_type = "sqlite"
    driver_name = "sqlite3"
    polling_interval = 0.02

    connection_errors = (  # type: ignore[assignment]  # kombu infers a tuple of length one
        *virtual.Transport.connection_errors,
        MessageFileError,
    )
    #: Listed separately, so that kombu keeps retrying while the file stays unusable.
    recoverable_connection_errors = connection_errors
    recoverable_channel_errors = ()

    #: With an event loop Celery's prefork pool gives each child its own pipes. Without one the
    #: children share pipes, and a child that is killed may leave them locked for all.
    implements = virtual.Transport.implements.extend(
        asynchronous=True,
        batch_publish=True,
        exchange_type=frozenset(["direct", "topic", "fanout"]),
        heartbeats=False,
    )

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        wanted = client.transport_options
        self._wakeup = threading.Event()
        self._loop: Any = None
        self._look: Any = None
        file = MessageFile(_path(client), float(wanted.get("busy_timeout_seconds", 30)))
        self.messages = Messages(file, float(wanted.get("lease_seconds", 10)))
        self.leases = HeldLeases(self.messages)

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """Empty: there is no default host or port."""
        return {}

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return the URL with the absolute path; there is no password to hide."""
        return broker_url(self.messages.file.path)

    def driver_version(self) -> str:
        """Return the version of the SQLite library."""
        return sqlite3.sqlite_version

    def establish_connection(self) -> Any:
        """Open the file; raises MessageFileError."""
        self.messages.file.check()
        return super().establish_connection()

    def close_connection(self, connection: Any) -> None:
        """Return unacknowledged messages to their queues and close the file."""
        self._leave_loop()
        super().close_connection(connection)
        self.leases.stop()
        self.messages.file.close()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Deliver from this loop: at each polling interval, and when a message is acknowledged."""
        self._leave_loop()
        self._loop = loop
        self._look = loop.call_repeatedly(self.polling_interval, self._deliver_in_loop)

    def wake_up(self) -> None:
        """Look for a message at once, as there is room for one. Safe from any thread."""
        self._wakeup.set()
        if self._loop is not None:
            self._loop.call_soon(self._deliver_in_loop)

    def drain_events(  # type: ignore[override]  # as virtual.Transport, which has no types, does
        self, connection: Any, timeout: float | None = None
    ) -> None:
        """Deliver one message; raises TimeoutError after ``timeout`` seconds without one.

        Between two looks it sleeps for the polling interval, or until an acknowledgement makes
        room: a worker with a full prefetch starts its next task as soon as one has ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._deliver_next(timeout):
            self._sleep_until(deadline)

    def _deliver_in_loop(self) -> None:
        # Only for a short time: a pool without processes runs each task in here, and the loop must
        # also handle signals and timers.
        until = time.monotonic() + _LOOP_SHARE_SECONDS
        while self._loop is not None and self._deliver_next(0):
            if time.monotonic() > until:
                self._loop.call_later(0, self._deliver_in_loop)
                return

    def _leave_loop(self) -> None:
        self._loop = None
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _deliver_next(self, timeout: float | None) -> bool:
        # Clear before the look, so that an acknowledgement during it still wakes the sleeper.
        self._wakeup.clear()
        try:
            self.cycle.get(  # type: ignore[union-attr]  # the constructor has set it
                self._deliver, timeout=timeout
            )
        except Empty:
            return False
        return True

    def _sleep_until(self, deadline: float | None) -> None:
        pause = self.polling_interval
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            pause = min(pause, left)
        self._wakeup.wait(pause)


def _path(client: Any) -> Path:
    """Return the absolute path that a connection's URL names; raises ValueError for none."""
    host, path = client.hostname, client.virtual_host
    if host and "://" in host:
        parts = url_to_parts(host)
        host, path = parts.hostname, parts.path
    # With two slashes the first part of a path would silently become a host.
    if host not in (None, "", "localhost") or path in (None, "", "/"):
        raise ValueError(
            f"a broker URL that names no message file (host {host!r}, path {path!r}): "
            f"write {SCHEME}:///relative/path or {SCHEME}:////absolute/path"
        )
    return Path(path).absolute()
