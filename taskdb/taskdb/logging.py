"""Structured logs by structlog and the standard library; code may use either.

Foreign text (errors, names, messages of other libraries) cannot forge a log line, colour a terminal
or reveal a secret: every log line of the process is redacted and escaped as a whole.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

import structlog

from taskdb.private_path import open_file
from taskdb.redaction.printable import escaped, escaped_json, escaped_lines
from taskdb.redaction.redaction import Redaction
from taskdb.settings.settings import Settings

_TEXT_LIMIT = 32_768
"""Most characters of one value, a traceback included; the end is kept."""
_BLOCKS = ("exception", "stack")
"""Values of several lines."""
_INDENT = "    "
"""Prefix of each line of a block, so that it does not look like a new log line."""
_PLAIN = re.compile(
    r"[a-z]{1,30}(?:_[a-z]{1,30}){0,3}\.[a-z_]{1,40}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
"""The form of the name of an event, and of the id of a task."""
_OWN = ("timestamp", "level", "logger")


def configure_logging(settings: Settings, *, level: Any = None, path: str | None = None) -> None:
    """Send every log line of this process to stderr or to a file, in the format of the settings.

    For the programs of this package (worker, beat, command line); the logging of an application
    that imports the library is not changed. `level` (a name or number) overrides the setting.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # A cached logger could not be captured, or configured a second time.
        cache_logger_on_first_use=False,
    )
    handler = _PrivateFileHandler(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _Redacted(settings.redaction, settings.secrets),
                *_rendering(settings, has_colors=not path and sys.stderr.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level or settings.log_level)
    # Alembic logs every read of the schema.
    logging.getLogger("alembic").setLevel(logging.WARNING)


class _PrivateFileHandler(WatchedFileHandler):
    """A file of this user only, opened again after another program has renamed it (logrotate).

    An existing file keeps its mode.
    """

    def _open(self) -> Any:
        return open(
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            errors=self.errors,
            opener=lambda path, flags: open_file(Path(path), flags),
        )


class _Redacted:
    """Removes secrets from every value of a log line."""

    def __init__(self, redaction: Redaction, known: Iterable[str]) -> None:
        self._redaction = redaction
        self._known = tuple(known)

    def __call__(
        self, _logger: Any, _method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {
            name: value if name in _OWN else self._value(name, value)
            for name, value in line.items()
        }

    def _value(self, name: str, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict | list | tuple | set | frozenset):
            return self._nested(value)
        if isinstance(value, str) and _PLAIN.fullmatch(value):
            # Most values are ids and event names; reading each would double the cost of a line.
            return value
        text = value if isinstance(value, str) else _spelled(value)
        return self._text(text, end=name in _BLOCKS)

    def _nested(self, value: Any) -> Any:
        found = self._redaction.value(value, _TEXT_LIMIT)
        text = json.dumps(found, ensure_ascii=False)
        return found if self._text(text) == text else self._text(text)

    def _text(self, text: str, *, end: bool = False) -> str:
        return self._redaction.text(text, _TEXT_LIMIT, known=self._known, end=end)


def _spelled(value: Any) -> str:
    try:
        return str(value) if isinstance(value, BaseException) else repr(value)
    except Exception:  # noqa: BLE001 - an object of a caller may raise anything
        return f"<{type(value).__qualname__}>"


def _rendering(settings: Settings, *, has_colors: bool) -> list[Any]:
    if settings.log_format == "json":
        return [structlog.processors.JSONRenderer(ensure_ascii=False), _escape_json]
    return [_escape, structlog.dev.ConsoleRenderer(colors=has_colors)]


def _escape(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {escaped(str(name)): _escaped(name, value) for name, value in line.items()}


def _escaped(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else repr(value)
    return escaped_lines(text, _INDENT) if name in _BLOCKS else escaped(text)


def _escape_json(_logger: Any, _method: str, line: str | bytes) -> str:
    return escaped_json(line.decode() if isinstance(line, bytes) else line)
