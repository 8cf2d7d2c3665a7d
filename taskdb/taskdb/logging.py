"""Structured logs: structlog in front, the standard library behind, so that either may be used."""

from __future__ import annotations

import logging
import sys
from logging.handlers import WatchedFileHandler
from typing import Any

import structlog

from taskdb.settings import Settings


def configure_logging(settings: Settings, *, level: Any = None, path: str | None = None) -> None:
    """Send every log line of this process to stderr or to a file, as the settings say.

    For programs of our own (worker, beat, command line); a library user's logging is left alone.
    `level` (a name or number) overrides that of the settings.
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
        # A logger that was cached could not be captured or configured anew by anyone after us.
        cache_logger_on_first_use=False,
    )
    # Opened again when something else has renamed it, as logrotate does.
    handler = WatchedFileHandler(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(settings, has_colors=not path and sys.stderr.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level or settings.log_level)
    # It announces every look at the schema.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _renderer(settings: Settings, *, has_colors: bool) -> Any:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(colors=has_colors)
