"""The log of the adoption, through the logging of the process that it observes.

Structlog by default writes to standard output, which belongs to the application here.
"""

from __future__ import annotations

import logging

import structlog

log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    logging.getLogger("taskdb.adopt"),
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.processors.LogfmtRenderer(key_order=["event"]),
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)
