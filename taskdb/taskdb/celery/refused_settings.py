"""Celery settings that would break a promise of this package, each with its reason.

A client, a worker or a beat refuses them at its start, from every source: `TASKDB_CELERY`,
`CELERY_CONFIG_MODULE`, `config_from_object`. The user may choose all other settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from celery.app.defaults import _TO_NEW_KEY, DEFAULTS
from kombu import compression

from taskdb.errors import SettingsError
from taskdb.settings.settings import Settings

RESULT_BACKEND = "taskdb.celery.result_backend.RowBackend"
_JSON = frozenset({"json", "application/json"})
_PROTOCOL = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """The allowed values of a setting, and the reason why others break a promise."""

    allows: Callable[[Any], bool]
    reason: str


def _is_off(value: Any) -> bool:
    return not value


def _is_on(value: Any) -> bool:
    return bool(value)


def is_json(value: Any) -> bool:
    """Whether this is the serializer, or the content type, of our messages."""
    return isinstance(value, str) and value in _JSON


def _is_json_only(value: Any) -> bool:
    is_several = isinstance(value, list | tuple | set | frozenset) and len(value) > 0
    return is_several and all(is_json(one) for one in value)


def _is_second_protocol(value: Any) -> bool:
    return bool(value == _PROTOCOL)


def _is_none(value: Any) -> bool:
    return value is None


def _are_entries(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _is_compression(value: Any) -> bool:
    try:
        return value is None or bool(compression.get_encoder(value))  # type: ignore[no-untyped-call]
    except (KeyError, TypeError):
        return False


_OF_A_TASK: Mapping[str, Rule] = {
    "acks_late": Rule(_is_on, "a worker that dies would take its messages with it"),
    "reject_on_worker_lost": Rule(_is_off, "a task that kills its worker would run for ever"),
    "ignore_result": Rule(
        _is_on, "results are rows; `AsyncResult` reads them, and Celery stores none"
    ),
    "store_errors_even_if_ignored": Rule(_is_off, "errors are rows, and Celery stores none"),
    "serializer": Rule(is_json, "messages are JSON only, so that none can run code"),
}
"""Attributes that `task_annotations` can change too; the setting has the prefix `task_`."""
_RESULTS = "results are rows, and fan-outs are joined by them; Celery stores none"
_FOREGROUND = (
    "a worker stays in the foreground, and nothing else reads this: let systemd, supervisor or a "
    "container start it"
)
_LIMITS = (
    "nothing reads it, since every task has limits of its own: set "
    "TASKDB_TASK_TIME_LIMIT_SECONDS and TASKDB_TASK_SOFT_TIME_LIMIT_SECONDS"
)
_OF_A_WORKER: Mapping[str, Rule] = {
    "worker_detach": Rule(_is_off, _FOREGROUND),
    "worker_umask": Rule(_is_none, _FOREGROUND),
    "worker_executable": Rule(_is_none, _FOREGROUND),
    "worker_beat": Rule(_is_off, "nothing reads it: run `taskdb beat` beside the worker"),
    "worker_purge": Rule(_is_off, "nothing reads it: cancel tasks with `taskdb cancel`"),
    "worker_time_limit": Rule(_is_none, _LIMITS),
    "worker_soft_time_limit": Rule(_is_none, _LIMITS),
}
"""Options of Celery's command that this worker refuses, by the names of settings."""
_BROKER = "priorities and options follow the broker of TASKDB_BROKER_URL: set that one"

RULES: Mapping[str, Rule] = {
    **{f"task_{name}": rule for name, rule in _OF_A_TASK.items()},
    "result_backend": Rule(lambda value: value == RESULT_BACKEND, _RESULTS),
    "result_accept_content": Rule(_is_json_only, "JSON only, so that nothing can run code"),
    "accept_content": Rule(_is_json_only, "a message that is not JSON could run code"),
    "event_serializer": Rule(is_json, "events are JSON only, so that none can run code"),
    "worker_pool_restarts": Rule(
        _is_off, "remote control could import any module into the worker; restart the worker"
    ),
    "task_protocol": Rule(
        _is_second_protocol,
        "messages of the first protocol have no headers, which fan-outs, chunks and traces need",
    ),
    "task_always_eager": Rule(
        _is_off, "bodies would run in the process that submits; see taskdb.testing for tests"
    ),
    "task_retry_on_worker_lost": Rule(
        _is_off, "crashes have a budget of their own; a second policy would run beside it"
    ),
    "task_allow_error_cb_on_chord_header": Rule(
        _is_off, "a fan-out would be ended by each of its parts that fails"
    ),
    "task_soft_time_limit": Rule(
        _is_none,
        "it would be armed for types that have a hard limit only, and strike too late; set "
        "TASKDB_TASK_SOFT_TIME_LIMIT_SECONDS",
    ),
    "worker_cancel_long_running_tasks_on_connection_loss": Rule(
        _is_off, "bodies that run well would be killed; the claim makes the duplicate harmless"
    ),
    "worker_deduplicate_successful_tasks": Rule(
        _is_off, "the claim does it, and this would ask the database in a worker's event loop"
    ),
    **_OF_A_WORKER,
    "beat_schedule": Rule(_are_entries, "entries are an object, each by its name"),
    "task_compression": Rule(_is_compression, "no such compression is known"),
}
"""The allowed values of Celery's settings, from every source."""


def check_celery_settings(settings: Settings) -> None:
    """Raise SettingsError for a Celery setting that would break a promise, with its reason."""
    for fault in _faults(settings):
        raise SettingsError(fault)


def check_configured(conf: Any) -> None:
    """Check the same for a configured app, from every source of its settings."""
    for name, rule in RULES.items():
        if not rule.allows(conf.get(name)):
            raise SettingsError(_said("the Celery app", name, conf.get(name), rule.reason))
    for attribute, value, rule in _annotated(conf.get("task_annotations")):
        raise SettingsError(_said("`task_annotations`", attribute, value, rule.reason))


def check_task(task: Any) -> None:
    """Raise SettingsError for a Celery task whose annotations would break a promise."""
    for name, rule in _OF_A_TASK.items():
        value = getattr(task, name, None)
        if not rule.allows(value):
            raise SettingsError(
                _said(f"`task_annotations` of {task.name}", name, value, rule.reason)
            )


def _faults(settings: Settings) -> Iterator[str]:
    given = settings.celery
    for name, value in given.items():
        new = name
        if name != name.lower():
            new = _TO_NEW_KEY.get(name) or name.lower().removeprefix("celery_")
        rule = _rule_of(new, settings)
        if rule is not None and not rule.allows(value):
            yield _said("TASKDB_CELERY", name, value, rule.reason)
        if new != name:
            yield f"TASKDB_CELERY: `{name}` is an old name of Celery's. Write `{new}`"
    for attribute, value, rule in _annotated(given.get("task_annotations")):
        yield _said("TASKDB_CELERY: `task_annotations`", attribute, value, rule.reason)


def _rule_of(name: str, settings: Settings) -> Rule | None:
    if name in {"broker_url", "broker_read_url", "broker_write_url"}:
        return Rule(lambda value: value == settings.message_url, _BROKER)
    if name == "task_default_queue":
        reason = "rows name their queue: set TASKDB_DEFAULT_QUEUE"
        return Rule(lambda value: value == settings.default_queue, reason)
    if name in RULES:
        return RULES[name]
    if name.startswith("result_"):
        # It has no effect here; a user who sets it would expect one.
        return Rule(lambda value: value == DEFAULTS.get(name), _RESULTS)
    return None


def _annotated(annotations: Any) -> Iterator[tuple[str, Any, Rule]]:
    """Yield annotations that break a promise; `check_task` checks annotations that are objects."""
    several = annotations if isinstance(annotations, list | tuple) else [annotations]
    for mapping in several:
        if not isinstance(mapping, Mapping):
            continue
        for changes in mapping.values():
            for name, value in changes.items() if isinstance(changes, Mapping) else ():
                rule = _OF_A_TASK.get(name)
                if rule is not None and not rule.allows(value):
                    yield name, value, rule


def _said(where: str, name: str, value: Any, reason: str) -> str:
    # A URL or any other long value may hold a password.
    is_plain = isinstance(value, bool | int | float) or value is None
    is_word = isinstance(value, str) and value.isidentifier()
    shown = f" {value!r}" if is_plain or is_word else ""
    return f"{where}: `{name}`{shown} is not possible here: {reason}. Leave it out"
