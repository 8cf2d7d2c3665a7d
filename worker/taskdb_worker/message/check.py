"""The check of a message: it keeps the row's id and type, and removes all else.

Any client that can write to the broker can write a message. Celery takes from it the expiry, the
time limits, the callbacks, even attributes of the request. In this package the row decides all of
that. So the check reduces a message for a task type to the
fields that name its row, before Celery reads it. With keys, the message must also be signed.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

from celery.app.task import Context
from kombu.exceptions import ContentDisallowed

from taskdb.celery.message_signature import SIGNATURE_HEADER, MessageKeys, SignatureRefused, Subject
from taskdb.celery.publish.publisher import CHUNK_HEADER, FINALIZE, end_of
from taskdb.celery.refused_settings import is_json
from taskdb.logger import get_logger
from taskdb.model.fan_out import CHUNK_LIMIT
from taskdb.settings.settings import Settings
from taskdb.store.task.task_id import is_id
from taskdb_worker.message.rare_log import RareLog

log = get_logger("taskdb.worker")

ATTEMPT = "taskdb_attempt"
"""Attribute of a request: the attempt that its signature names."""
_NAMES = ("id", "task", "lang", "origin", "root_id", "parent_id")
_READ = frozenset(dir(Context)) | {"argsrepr", "kwargsrepr", "compression"}
"""The headers that Celery reads. Any other header is for the application alone."""
_NO_ARGUMENTS = "[[], {}"
"""The first characters of a message body without arguments."""


class MessageRefused(Exception):
    """A message that no worker runs. The text is the reason, without content of the message."""


class MessageCheck:
    """Checks the messages of one worker app."""

    def __init__(self, settings: Settings, types: Container[str]) -> None:
        self._types = types
        self._keys = MessageKeys.of(settings)
        self._unsigned = settings.message_unsigned
        self._rare_log = RareLog()

    def read(self, message: Any, tasks: Container[str]) -> None:
        """Reduce a message to what Celery may read. `tasks` are the tasks that this worker has.

        Raises MessageRefused, and the error of a body that cannot be decoded.
        """
        headers = message.headers if isinstance(message.headers, dict) else {}
        name = headers.get("task")
        if name == FINALIZE:
            self._read_end(message, headers)
        elif isinstance(name, str) and name in self._types:
            self._read_task(message, headers, name)
        elif isinstance(name, str) and name not in tasks:
            # The type of the row may be deployed on another worker.
            self._attempt(headers, _subject(headers, name))
        else:
            self._read_plain(message, name)

    def log(self, message: Any, refused: MessageRefused) -> None:
        """Log a refused message; each reason at most once in PAUSE_SECONDS."""
        reason = str(refused)
        if count := self._rare_log.count(reason):
            task_id = (message.headers or {}).get("id")
            log.warning(
                "message.refused",
                reason=reason,
                count=count,
                task_id=task_id if isinstance(task_id, str) and is_id(task_id) else None,
                queue=str((message.delivery_info or {}).get("routing_key"))[:200],
                advice="no row has moved; a task whose message it was is published again. See to "
                "it that clients, workers and beats have the same TASKDB_MESSAGE_KEYS, and that "
                "nobody else writes to the broker",
            )

    def _read_task(self, message: Any, headers: dict[str, Any], name: str) -> None:
        if not is_json(message.content_type):
            raise ContentDisallowed("a message for a task type is JSON")
        subject = _subject(headers, name)
        attempt = self._attempt(headers, subject)
        kept = _kept(headers)
        # Celery's own calls describe their arguments in a header. A publisher of rows does not.
        is_plain = bool(headers.get("argsrepr")) or not _has_no_arguments(message.body)
        kept["argsrepr"] = "(...)" if is_plain else ""
        if subject.items:
            kept[CHUNK_HEADER] = subject.items
        if attempt is not None:
            kept[ATTEMPT] = attempt
        _cut(message, kept, [])

    def _read_end(self, message: Any, headers: dict[str, Any]) -> None:
        """Read the message that ends a parent. Its id follows from the id of the parent."""
        parent_id = headers.get("parent_id")
        if not isinstance(parent_id, str) or not is_id(parent_id):
            raise MessageRefused("it ends no parent")
        if headers.get("id") != end_of(parent_id):
            raise MessageRefused("its id is not that of the end of its parent")
        self._attempt(headers, _subject(headers, FINALIZE))
        _cut(message, _kept(headers), [parent_id])

    def _read_plain(self, message: Any, name: Any) -> None:
        if self._keys and self._unsigned == "refuse":
            raise MessageRefused("it has no signature, as no plain Celery task has one")
        if isinstance(name, str):
            _check_plain(message.headers)
        if isinstance(name, str) or not isinstance(message.headers, dict):
            return
        # In Celery's first protocol the body names the task.
        payload = message.decode()
        called = payload.get("task") if isinstance(payload, Mapping) else None
        if called == FINALIZE or (isinstance(called, str) and called in self._types):
            raise MessageRefused("it is of the first protocol of Celery")
        if isinstance(payload, Mapping):
            _check_plain(payload)

    def _attempt(self, headers: dict[str, Any], subject: Subject) -> int | None:
        """Return the signed attempt, or None where no signature is required."""
        signature = headers.get(SIGNATURE_HEADER)
        if not self._keys or (signature is None and self._unsigned == "accept"):
            return None
        try:
            return self._keys.attempt_of(signature, subject)
        except SignatureRefused as error:
            raise MessageRefused(str(error)) from None


def _subject(headers: Mapping[str, Any], name: str) -> Subject:
    task_id, items = headers.get("id"), headers.get(CHUNK_HEADER)
    if not isinstance(task_id, str):
        raise MessageRefused("it names no task")
    is_count = isinstance(items, int) and not isinstance(items, bool) and 0 < items <= CHUNK_LIMIT
    return Subject(task_id, name, items if is_count else 0)  # type: ignore[arg-type]  # a count


def _check_plain(fields: Mapping[str, Any]) -> None:
    """Refuse fields on which Celery fails after it has reserved a process for the task.

    That process would stay idle. Raises MessageRefused.
    """
    limits, stamped = fields.get("timelimit"), fields.get("stamped_headers")
    is_fit = (
        isinstance(fields.get("id"), str)
        and (limits is None or _are_limits(limits))
        and (stamped is None or _are_names(stamped))
        and isinstance(fields.get("stamps") or {}, Mapping)
    )
    if not is_fit:
        raise MessageRefused("its id, time limits or stamps are not valid")


def _are_limits(value: Any) -> bool:
    """Whether these are two valid limits. A negative one would make Celery kill the process."""
    is_pair = isinstance(value, list | tuple) and len(value) == 2  # noqa: PLR2004 - a pair
    return is_pair and all(
        one is None or (isinstance(one, int | float) and one >= 0) for one in value
    )


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _kept(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers that name a row, and those that neither Celery nor a worker reads."""
    kept = {
        name: value
        for name, value in headers.items()
        if name not in _READ and not name.startswith(("taskdb_", "_"))
    }
    for name in _NAMES:
        if isinstance(value := headers.get(name), str):
            kept[name] = value
    if SIGNATURE_HEADER in headers:
        # A message that is returned to the broker in this form must pass the check again.
        kept[SIGNATURE_HEADER] = headers[SIGNATURE_HEADER]
    return kept


def _has_no_arguments(body: Any) -> bool:
    return body[:7] in (_NO_ARGUMENTS, _NO_ARGUMENTS.encode())


def _cut(message: Any, headers: dict[str, Any], arguments: list[str]) -> None:
    message.headers = headers
    message.body = json.dumps([arguments, {}, {}])
    message.content_encoding = "utf-8"
    message._decoded_cache = [arguments, {}, {}]  # noqa: SLF001 - else it is read once more
