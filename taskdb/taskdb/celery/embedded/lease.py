"""What this process has leased and not yet settled, and the thread that keeps it leased.

A message is held for as long as its consumer lives, however long the task takes: a daemon thread
renews each lease three times in its length. When the process dies, renewing ends with it, and the
message comes back. A process that was stopped (SIGSTOP, a frozen virtual machine) may find on
waking up that another consumer has its message; then it no longer holds it, and its late
acknowledgement changes nothing.

The thread needs the interpreter: C code that keeps Python's lock for longer than a lease, in the
process that consumes (with the prefork pool the main process, never a task's), stops renewing too.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable

from taskdb.celery.embedded.file import MessageFileError
from taskdb.celery.embedded.messages import Lease, Messages

logger = logging.getLogger(__name__)


class HeldLeases:
    """The leases of this process, by token. A forked child starts with none of its parent's."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._pid = os.getpid()
        self._held: dict[str, Lease] = {}
        self._owed: dict[str, Lease] = {}
        self._renewer: threading.Thread | None = None
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._settling = threading.Lock()

    def hold(self, lease: Lease) -> None:
        """Keep the lease renewed until it is acknowledged, released or lost."""
        self._leave_parent()
        self._held[lease.token] = lease
        if self._renewer is None:
            self._start_renewer()

    def ack(self, token: str) -> None:
        """Remove the message, unless its lease was lost; raises MessageFileError.

        After an error the acknowledgement is owed: the renewer goes on trying.
        """
        self._leave_parent()
        lease = self._held.pop(token, None)
        if lease is None:
            logger.warning("late acknowledgement of a message that this process no longer holds")
            return
        self._owed[token] = lease
        with self._settling:
            self._settle()

    def release(self, tokens: Iterable[str]) -> None:
        """Give messages back at once; raises MessageFileError, after which they lapse."""
        self._leave_parent()
        leases = [lease for token in tokens if (lease := self._held.pop(token, None))]
        if leases:
            self._messages.release(leases)

    def stop(self) -> None:
        """End the renewer; what is still held or owed lapses."""
        self._leave_parent()
        renewer, self._renewer = self._renewer, None
        self._stopping.set()
        if renewer is not None and renewer is not threading.current_thread():
            renewer.join(timeout=5)
        self._held.clear()
        self._owed.clear()

    def _leave_parent(self) -> None:
        """In a forked child: what was held is the parent's, and its thread did not come along."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._held, self._owed = {}, {}
            self._renewer = None
            self._starting, self._settling = threading.Lock(), threading.Lock()

    def _start_renewer(self) -> None:
        with self._starting:
            if self._renewer is not None:
                return
            self._stopping = threading.Event()
            self._renewer = threading.Thread(
                target=self._run, args=(self._stopping,), name="taskdb-lease", daemon=True
            )
            self._renewer.start()

    def _run(self, stopping: threading.Event) -> None:
        pause = self._messages.lease_seconds / 3
        while not stopping.wait(pause):
            try:
                self._renew()
            except MessageFileError as error:
                logger.warning("leases not renewed, tried again: %s", error)
            except Exception:
                logger.exception("leases not renewed, tried again")

    def _settle(self) -> None:
        """Acknowledge what is owed; one thread at a time.

        A second one would find nothing to remove, and take the message for given away.
        """
        for lease in list(self._owed.values()):
            if not self._messages.ack([lease]):
                logger.warning("late acknowledgement of message %s: given away", lease.message_id)
            self._owed.pop(lease.token, None)

    def _renew(self) -> None:
        with self._settling:
            self._settle()
        if held := list(self._held.values()):
            for lease in self._messages.renew(held):
                # Not held any more: it was settled while this thread renewed.
                if self._held.pop(lease.token, None):
                    logger.warning("message %s lost to another consumer", lease.message_id)
        self._messages.return_free_pages()
