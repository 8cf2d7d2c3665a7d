"""Options of kombu's Redis transport: the allowed values, and why others are refused.

An option of a wrong type would end a worker at its start, with an error of kombu or redis-py
that does not name the option, or make its event loop spin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from kombu.utils.scheduling import CYCLE_ALIASES

from taskdb.errors import SettingsError

Check = Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_time_limit(value: Any) -> bool:
    return value is None or _is_positive(value)


def _is_interval(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value > 0


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_any_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool) or value is None


def _is_prefix(value: Any) -> bool:
    return isinstance(value, bool) or (
        isinstance(value, str) and value[:1] == "/" and value[-1:] == "."
    )


def _is_order(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, type)
    module, _, name = value.replace(":", ".").rpartition(".")
    try:
        return value in CYCLE_ALIASES or bool(module and name and find_spec(module))
    except (ImportError, ValueError):
        return False


def _are_steps(value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and len(value) > 0
    return is_list and all(map(_is_whole, value)) and value[0] == 0 and [*value] == sorted({*value})


def _are_socket_options(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, Mapping) and all(
        _is_whole(name) and isinstance(given, int | bytes) for name, given in value.items()
    )


def _is_encoding(value: Any) -> bool:
    return value in (None, "base64")


def _is_on(value: Any) -> bool:
    return value is True


def _are_words(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


_CHECKS: Mapping[str, tuple[Check, str]] = {
    "ack_emulation": (
        _is_on,
        "true: without acknowledgements a worker that dies takes its messages with it",
    ),
    "visibility_timeout": (_is_positive, "seconds, more than the longest task takes"),
    "unacked_key": (_is_text, "a name"),
    "unacked_index_key": (_is_text, "a name"),
    "unacked_mutex_key": (_is_text, "a name"),
    "unacked_mutex_expire": (_is_count, "whole seconds, more than none"),
    "unacked_restore_limit": (_is_count_or_none, "a number of messages, or null"),
    "unacked_restore_interval": (_is_positive, "seconds, more than none"),
    "unacked_restore_throttle": (_is_count, "a whole number, at least 1"),
    "sep": (_is_text, "text that is in no queue's name"),
    "fanout_prefix": (_is_prefix, "true, false, or text from a slash to a dot"),
    "fanout_patterns": (_is_switch, "true or false"),
    "global_keyprefix": (_is_any_text, "text"),
    "socket_timeout": (_is_time_limit, "seconds, more than none, or null"),
    "socket_connect_timeout": (_is_time_limit, "seconds, more than none, or null"),
    "socket_keepalive": (_is_switch, "true or false"),
    "socket_keepalive_options": (
        _are_socket_options,
        'an object of numbers, such as {"4": 60} for socket.TCP_KEEPIDLE',
    ),
    "queue_order_strategy": (
        _is_order,
        f"{', '.join(sorted(CYCLE_ALIASES))}, or the path of a class",
    ),
    "max_connections": (_is_count_or_none, "a whole number, at least 1"),
    "health_check_interval": (_is_interval, "seconds; 0 turns the checks off"),
    "reauth_check_interval": (_is_interval, "seconds; 0 turns the checks off"),
    "retry_on_timeout": (_is_switch, "true or false"),
    "priority_steps": (_are_steps, "whole numbers that begin with 0 and grow"),
    "client_name": (_is_text_or_none, "text"),
    "polling_interval": (_is_time_limit, "seconds, more than none, or null"),
    "body_encoding": (_is_encoding, '"base64" or null'),
    "deadletter_queue": (_is_text_or_none, "the name of a queue"),
    "master_name": (_is_text, "the name of the group that the sentinels watch"),
    "min_other_sentinels": (_is_interval, "a whole number"),
    "sentinel_kwargs": (_are_words, "an object"),
    "sentinel_fanout_compat": (_is_switch, "true or false"),
}
"""The check of each option, and the text of its error."""
REDIS_OPTIONS = frozenset(_CHECKS)
"""The names of the options that kombu's transport knows."""


def redis_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Convert options for kombu: JSON has names of socket options only as text."""
    options = dict(given)
    names = options.get("socket_keepalive_options")
    if isinstance(names, Mapping):
        options["socket_keepalive_options"] = {
            int(name) if isinstance(name, str) and name.isdecimal() else name: value
            for name, value in names.items()
        }
    return options


def check_redis_options(given: Any, url: str) -> None:
    """Raise SettingsError for an option that does not work, or whose name is misspelled."""
    where = "TASKDB_CELERY: `broker_transport_options`"
    if not isinstance(given, Mapping):
        raise SettingsError(f"{where} is a {type(given).__name__}. Give an object")
    options = redis_options(given)
    for name, value in options.items():
        if name not in _CHECKS:
            near = get_close_matches(str(name), _CHECKS, n=1, cutoff=0.85)
            if near:
                raise SettingsError(
                    f"{where}: no option is named {name!r}; did you mean {near[0]!r}?"
                )
            continue
        is_right, said = _CHECKS[name]
        if not is_right(value):
            shown = f" {value!r}" if isinstance(value, bool | int | float | None) else ""
            raise SettingsError(f"{where}: `{name}`{shown} does not work. Give {said}")
    if url.startswith("sentinel") and "master_name" not in options:
        raise SettingsError(
            f"{where}: a broker of sentinels needs `master_name`. Give {_CHECKS['master_name'][1]}"
        )
