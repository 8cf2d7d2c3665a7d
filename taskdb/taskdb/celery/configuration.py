"""The Celery settings of this package: the same for clients, workers and relays.

`docs/reference/celery-settings.md` explains each setting that differs from Celery's default.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs

from celery import Celery
from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.transport import TRANSPORT_ALIASES

from taskdb.celery.application import TaskDBCelery
from taskdb.celery.control import RowControl
from taskdb.celery.embedded.broker import SCHEME, register
from taskdb.celery.messaging import Messaging
from taskdb.celery.redis.options import REDIS_OPTIONS, check_redis_options, redis_options
from taskdb.celery.refused_settings import RESULT_BACKEND, check_celery_settings, check_configured
from taskdb.errors import SettingsError, did_you_mean
from taskdb.settings.location import ENCODE
from taskdb.settings.settings import Settings

PRIORITIES = 10
"""Priorities are 0 to 9; workers take 9 first, on every broker."""


def create_celery(settings: Settings, *, name: str = "taskdb", as_current: bool = False) -> Celery:
    """Return a Celery app with the settings of this package. Opens no connection.

    Raises SettingsError for a broker that Celery does not know, and for a Celery setting that
    would break a promise.
    """
    check_broker(settings)
    messaging = AMQP if settings.redis_transport == "kombu" else Messaging
    app = TaskDBCelery(name, set_as_current=as_current, amqp=messaging, control=RowControl)
    app.conf.update(celery_settings(settings))
    check_configured(app.conf)
    return app


def check_broker(settings: Settings) -> None:
    """Raise SettingsError for a broker, or for Celery settings, that cannot work."""
    check_broker_scheme(settings)
    check_celery_settings(settings)
    if broker_kind(settings) == "redis":
        options = settings.celery.get("broker_transport_options", {})
        check_redis_options(options, settings.message_url)


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Return the Celery settings for this broker; the user's own (`TASKDB_CELERY`) win."""
    chosen = {**_common(settings), **_running(settings), **_for_broker(settings)}
    options = {
        **chosen.get("broker_transport_options", {}),
        **settings.celery.get("broker_transport_options", {}),
    }
    is_redis = broker_kind(settings) == "redis"
    return {
        **chosen,
        **_for_quorum_queues(settings),
        **settings.celery,
        "broker_transport_options": redis_options(options) if is_redis else options,
    }


def check_broker_scheme(settings: Settings) -> None:
    """Raise SettingsError for a broker URL with an unknown scheme."""
    register()
    for url in settings.message_url.split(";"):
        scheme, colon, _ = url.strip().partition("://")
        name = scheme.partition("+")[0]
        if not colon or name not in TRANSPORT_ALIASES:
            # Show only the scheme: the rest may hold a password.
            hint = did_you_mean(name, TRANSPORT_ALIASES) if colon else ""
            named = f"{scheme}://" if colon else "a URL without a scheme"
            raise SettingsError(
                f"TASKDB_BROKER_URL: no broker is known for {named}{hint}. Write "
                "redis://host:6379/0, amqp://user:password@host/vhost, or leave it empty for the "
                "embedded broker"
            )
        _check_readable(url.strip())


def _check_readable(url: str) -> None:
    """Raise SettingsError for a URL that Celery accepts but kombu cannot read at first use."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] in {"redis", "rediss"} and find_spec("redis") is None:
        raise SettingsError(
            f"TASKDB_BROKER_URL: {scheme}:// needs an extra: pip install 'celery-taskdb[redis]'"
        )
    _try(f"{scheme}://", _NO_TRANSPORT.format(scheme))
    options = parse_qs(rest.partition("?")[2])
    misplaced = [name for name in options if name in REDIS_OPTIONS]
    _try(url, _MISPLACED.format(f", here {' and '.join(misplaced)},") if misplaced else _UNREADABLE)


def _try(url: str, advice: str) -> None:
    try:
        Connection(url)  # type: ignore[no-untyped-call]
    # The text of the error may show part of a password that is not URL-encoded.
    except Exception as error:  # noqa: BLE001 - the parser raises errors of any class
        name = f" ({error.name} is not installed)" if isinstance(error, ImportError) else ""
        raise SettingsError(f"TASKDB_BROKER_URL cannot be used{name}: {advice}") from None


_NO_TRANSPORT = (
    "Celery cannot load its transport for {}://, so install the package that it needs; or write "
    "redis://HOST:6379/0 or amqp://USER@HOST/VHOST"
)
_MISPLACED = (
    "options of the transport{} do not go behind the `?`. Give them as "
    "`broker_transport_options` in TASKDB_CELERY"
)
_UNREADABLE = f"the port is a number, {_MISPLACED.format('')}, or {ENCODE}"


def broker_kind(settings: Settings) -> str:
    """Return `redis`, `amqp`, `embedded`, or `other` for a broker that has no tests here."""
    scheme = settings.message_url.partition("://")[0].partition("+")[0]
    if scheme in {"redis", "rediss", "sentinel", "valkey", "valkeys"}:
        return "redis"
    if scheme in {"amqp", "amqps", "pyamqp"}:
        return "amqp"
    return "embedded" if settings.message_url.startswith(f"{SCHEME}:") else "other"


def broker_priority(kind: str, priority: int) -> int:
    """Convert our priority to the broker's scale: Redis takes the smallest number first."""
    return PRIORITIES - 1 - priority if kind == "redis" else priority


def _common(settings: Settings) -> dict[str, Any]:
    return {
        "broker_url": settings.message_url,
        "result_backend": RESULT_BACKEND,
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "enable_utc": True,
        "timezone": "UTC",
        "task_default_queue": settings.default_queue,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        # The row keeps a task whose queue has no worker; a refusal here would lose it.
        "task_create_missing_queues": True,
        # The relay publishes again; a retry inside the publish would block the caller.
        "task_publish_retry": False,
        "broker_connection_timeout": 2,
        "broker_pool_acquire_timeout": 5,
        "broker_pool_limit": 10,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
    }


def _running(settings: Settings) -> dict[str, Any]:
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "task_track_started": False,
        "task_inherit_parent_priority": True,
        "task_time_limit": settings.task_time_limit_seconds,
        # Each type carries its own limit. A default would be armed for a type that has only a hard
        # limit, and the event loop starts the hard timer after the soft one: too late.
        "task_soft_time_limit": None,
        "task_allow_error_cb_on_chord_header": False,
        "task_send_sent_event": False,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_deduplicate_successful_tasks": False,
        "worker_send_task_events": False,
        "worker_soft_shutdown_timeout": settings.worker_soft_shutdown_seconds,
        "worker_enable_soft_shutdown_on_idle": True,
        "worker_eta_task_limit": 100,
        "worker_max_tasks_per_child": settings.worker_max_tasks_per_child or None,
        "worker_max_memory_per_child": settings.worker_max_memory_per_child_kib or None,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_proc_alive_timeout": 30,
    }


def _for_broker(settings: Settings) -> dict[str, Any]:
    kind = broker_kind(settings)
    if kind == "redis":
        return {
            "worker_disable_prefetch": True,
            "broker_transport_options": {
                "visibility_timeout": settings.visibility_timeout_seconds,
                "socket_timeout": 5,
                "socket_connect_timeout": 1,
                "socket_keepalive": True,
                "health_check_interval": 25,
                "unacked_restore_interval": 10,
                "unacked_restore_throttle": 1,
                "priority_steps": list(range(PRIORITIES)),
                **_BRIEF,
            },
        }
    if kind == "amqp":
        return {
            "broker_heartbeat": 30,
            "task_queue_max_priority": PRIORITIES - 1,
            "broker_transport_options": {
                "confirm_publish": True,
                "read_timeout": 10,
                "write_timeout": 10,
                **_BRIEF,
            },
        }
    if kind == "embedded":
        return {
            # Without an event loop a killed child is given up only after this (default 10 s).
            "worker_lost_wait": 1.0
        }
    return {"broker_transport_options": dict(_BRIEF)}


def _for_quorum_queues(settings: Settings) -> dict[str, Any]:
    """Extend `task_default_queue_type` to the other queues, which would stay classic."""
    if settings.celery.get("task_default_queue_type") != "quorum":
        return {}
    return {
        "task_create_missing_queue_type": "quorum",
        # RabbitMQ refuses the argument on a quorum queue, which has two priorities without it.
        "task_queue_max_priority": None,
    }


_BRIEF = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}
"""Connect at most twice: the rows are stored, and the relay tries later."""
