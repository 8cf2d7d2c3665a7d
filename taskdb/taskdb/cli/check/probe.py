"""The probes of `taskdb check`. A probe changes nothing and takes seconds at most."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any, TypeVar

from taskdb.celery.configuration import broker_kind, create_celery
from taskdb.celery.embedded.broker import path_of
from taskdb.celery.embedded.file import MessageFile, MessageFileError
from taskdb.cli.check.file_rights import check_rights
from taskdb.cli.check.finding import Finding, bad, doubtful, good
from taskdb.cli.database.schema import require_schema, sqlite_file
from taskdb.client.taskdb import TaskDB
from taskdb.errors import (
    DatabaseError,
    DatabaseNotMigrated,
    PayloadStoreUnreachable,
    SettingsError,
    TaskAlreadyRegistered,
    TaskModuleError,
)
from taskdb.redaction.url_mask import mask_url, mask_urls
from taskdb.settings.settings import Settings
from taskdb.store.engine.database_role import database_role
from taskdb.store.engine.migrations import revision
from taskdb.store.payload.place import payload_store_of
from taskdb.store.store import Store
from taskdb.types.registry import Registry, default_registry, import_task_modules

T = TypeVar("T")

BROKER_SECONDS = 3.0
PAYLOAD_SECONDS = 8.0
DATABASE_SECONDS = 8.0
"""Longer than the driver itself waits for a connection, so that its message is shown."""


def probe(settings: Settings) -> Iterator[Finding]:
    """Yield every finding; a subject stands after those on which it depends."""
    database = check_database(settings)
    yield database
    if database.level == "ok":
        yield from check_database_role(settings)
    yield from check_broker(settings)
    yield check_messages(settings)
    yield check_payloads(settings)
    yield from check_rights(settings)
    yield from check_task_modules(settings, default_registry)
    yield from check_schedules(settings, has_database=database.level == "ok")
    if database.level == "ok":
        yield from check_workers(settings, default_registry)
        yield check_beats(settings)


def check_database(settings: Settings) -> Finding:
    """Check that the database is reachable, and that this release can use its schema."""
    try:
        found = _within(DATABASE_SECONDS, lambda: require_schema(settings))
    except FutureTimeout:
        return bad("database", f"no response within {DATABASE_SECONDS:g} s", _DATABASE_ADVICE)
    except DatabaseNotMigrated as error:
        if settings.is_embedded_store:
            return doubtful("database", "not made yet", "the first command that needs it makes it")
        return bad("database", str(error))
    except (DatabaseError, OSError) as error:
        return bad("database", str(error))
    newer = f" (newer than this release: {revision.head()})" if revision.is_newer(found) else ""
    file = sqlite_file(settings)
    name = "PostgreSQL" if file is None else f"SQLite in {file}"
    return good("database", f"{name}, revision {found}{newer}")


def check_database_role(settings: Settings) -> Iterator[Finding]:
    """Check that the role of PostgreSQL may write rows, and has no further rights."""
    with Store(settings.store_url).closing() as store:
        role = store.database.read(database_role)
    if role is None:
        return
    if role.is_superuser:
        yield doubtful("database role", f"{role.name!r} is a superuser", _ROLE_ADVICE)
    elif role.unwritable:
        tables = ", ".join(role.unwritable)
        message = f"{role.name!r} may not write {tables}"
        advice = (
            f"to submit and to run tasks, let the owner run: taskdb grants --runtime {role.name}"
        )
        yield doubtful("database role", message, advice)
    else:
        yield good("database role", f"{role.name!r} may write rows, and is not a superuser")


def check_broker(settings: Settings) -> Iterator[Finding]:
    """Check that the broker is reachable within seconds, and that Redis evicts no messages."""
    kind = broker_kind(settings)
    if kind == "embedded":
        yield _check_message_file(path_of(settings.message_url))
        return
    try:
        connection = create_celery(settings).connection_for_write()
    except SettingsError as error:
        yield bad("broker", str(error))
        return
    where = mask_url(connection.as_uri(include_password=True))
    try:
        _within(BROKER_SECONDS, lambda: connection.ensure_connection(max_retries=1, timeout=2))
        yield good("broker", f"{where} responds")
        if kind == "redis":
            yield _within(BROKER_SECONDS, lambda: _check_eviction(connection))
    except FutureTimeout:
        yield bad("broker", f"no response from {where} within {BROKER_SECONDS:g} s", _BROKER_ADVICE)
    except Exception as error:  # noqa: BLE001 - every transport has errors of its own
        reason = mask_urls(f"{type(error).__name__}: {error}")
        yield bad("broker", f"no response from {where} ({reason})", _BROKER_ADVICE)


def _check_message_file(path: Path) -> Finding:
    file = MessageFile(path, busy_timeout_seconds=BROKER_SECONDS)
    try:
        # Opening would create it.
        if path.exists():
            file.check()
            file.close()
    except MessageFileError as error:
        return bad("broker", str(error), _MESSAGE_FILE_ADVICE)
    return good("broker", "embedded, under the data folder")


def check_messages(settings: Settings) -> Finding:
    """Check that messages are signed if other programs may write to the broker."""
    keys = len(settings.message_keys)
    if not keys and broker_kind(settings) == "embedded":
        return good(
            "messages", "not signed: only users with write access to the data folder can send any"
        )
    if not keys:
        advice = "give clients, workers and beats the same TASKDB_MESSAGE_KEYS"
        return doubtful(
            "messages", "not signed: everyone with access to the broker can start tasks", advice
        )
    if settings.message_unsigned == "accept":
        advice = "when every client and beat has a key: TASKDB_MESSAGE_UNSIGNED=refuse"
        return doubtful("messages", f"signed ({keys} keys), but others run too", advice)
    return good(
        "messages", f"signed; keys: {keys}, without a signature: {settings.message_unsigned}"
    )


def check_payloads(settings: Settings) -> Finding:
    """Check that the folder of large payloads is writable, or that the bucket responds."""
    try:
        _within(PAYLOAD_SECONDS, lambda: payload_store_of(settings).check())
    except FutureTimeout:
        return bad("payloads", f"no response within {PAYLOAD_SECONDS:g} s", _PAYLOAD_ADVICE)
    except PayloadStoreUnreachable as error:
        return bad("payloads", str(error), _PAYLOAD_ADVICE)
    except SettingsError as error:
        return bad("payloads", str(error))
    if settings.payload_bucket is not None:
        return good("payloads", f"{settings.payload_bucket} responds")
    folder = settings.payload_folder.absolute()
    state = "can be written" if folder.exists() else "is made when a payload needs it"
    return good("payloads", f"{folder} {state}")


def check_task_modules(settings: Settings, registry: Registry) -> Iterator[Finding]:
    """Check that every task module can be imported, and that they register task types."""
    if not settings.task_modules:
        advice = "name the modules that define them in TASKDB_TASK_MODULES"
        yield doubtful("task modules", "none", advice)
        return
    for module in settings.task_modules:
        try:
            import_task_modules([module])
        except (TaskModuleError, TaskAlreadyRegistered) as error:
            yield bad("task modules", str(error))
        else:
            yield good("task modules", f"{module} is imported")
    if len(registry):
        yield good("task types", f"{len(registry)}: {', '.join(one.name for one in registry)}")
    else:
        yield doubtful("task types", "none", 'decorate a function with @task("name")')


def check_schedules(settings: Settings, *, has_database: bool) -> Iterator[Finding]:
    """Check the schedules of code and settings, and list those that a beat has refused."""
    try:
        client = TaskDB(settings)
    except SettingsError:
        # `check_broker` reports it.
        return
    with client as taskdb:
        try:
            wrong = {(one.origin, one.name): one for one in taskdb.schedules.check_declared()}
        except (TaskModuleError, TaskAlreadyRegistered):
            # `check_task_modules` reports it.
            return
        for one in wrong.values():
            yield bad("schedules", f"{one.name!r} ({one.origin}) is refused: {one.reason}")
        refused = taskdb.schedules.refused() if has_database else []
    for one in refused:
        if (one.origin, one.name) not in wrong:
            message = f"a beat has refused {one.name!r} ({one.origin}): {one.reason}"
            yield bad("schedules", message, "mend it where it is declared, and restart that beat")


def check_workers(settings: Settings, registry: Registry) -> Iterator[Finding]:
    """Check that workers are alive, and that every queue has one."""
    with Store(settings.store_url).closing() as store:
        alive = store.workers.seen_since(settings.worker_lease_seconds)
    if not alive:
        seconds = settings.worker_lease_seconds
        yield doubtful(
            "workers", f"none was seen in the last {seconds:g} s", "start one: taskdb worker"
        )
        return
    yield good("workers", f"{len(alive)}: {', '.join(one.name for one in alive)}")
    served = {queue for one in alive for queue in one.queues}
    wanted = {one.queue or settings.default_queue for one in registry}
    for queue in sorted(wanted - served):
        advice = f"start one that takes it: taskdb worker -Q {queue}"
        yield doubtful("workers", f"none takes the queue {queue!r}", advice)


def check_beats(settings: Settings) -> Finding:
    """A beat runs, which does the relay, the rescue, the release and the schedules."""
    with Store(settings.store_url).closing() as store:
        live = store.beats.live()
    if live:
        return good("beats", f"{len(live)}: {', '.join(live)}")
    message = "none runs: nothing is retried, rescued, released or scheduled"
    return doubtful("beats", message, "start one: taskdb beat")


def _check_eviction(connection: Any) -> Finding:
    try:
        client = connection.default_channel.client
        policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
    except Exception:  # noqa: BLE001 - hosted servers forbid the question, each in its own way
        advice = "make sure that it is noeviction"
        return doubtful("broker", "Redis does not return its maxmemory-policy", advice)
    if policy == "noeviction":
        return good("broker", "Redis keeps what it was given (maxmemory-policy noeviction)")
    advice = "set maxmemory-policy to noeviction: messages are lost else, and only found again late"
    return doubtful("broker", f"Redis may throw messages away (maxmemory-policy {policy})", advice)


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Return the result of the work. Raises TimeoutError when it takes longer; it continues."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - `result` raises it again
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result(timeout=seconds)


_DATABASE_ADVICE = "check TASKDB_DATABASE_URL and that the server runs"
_ROLE_ADVICE = "give clients, workers and beats a role of their own: docs/how-to/database-roles.md"
_BROKER_ADVICE = "check TASKDB_BROKER_URL and that the server runs"
_MESSAGE_FILE_ADVICE = (
    "mend its rights, or stop every process and delete it: the tasks in it are published again"
)
_PAYLOAD_ADVICE = "check TASKDB_PAYLOAD_DIR and TASKDB_DATA_DIR, or TASKDB_PAYLOAD_URL"
