"""The HTTP server of a beat, with its pages and the loops behind them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from ulid import ULID

from taskdb.client.taskdb import TaskDB
from taskdb.errors import DatabaseError, SettingsError
from taskdb.logger import get_logger
from taskdb_beat.loops.loop import Loop
from taskdb_beat.observation.disk_gauge import DISK_SECONDS, DiskGauge
from taskdb_beat.observation.health import Health
from taskdb_beat.observation.readiness import probes
from taskdb_beat.observation.reporter import Reporter
from taskdb_beat.observation.server import Answer, Page, Server

log = get_logger("taskdb.http")

_STOP_SECONDS = 5.0


class Observation:
    """A server from `start` to `stop`; this one has nothing to serve."""

    def start(self) -> None:
        """Start to read rows and to serve."""

    def stop(self) -> None:
        """End both. If this beat reported, another one may begin at once."""


class _Served(Observation):
    def __init__(self, taskdb: TaskDB, loops: Sequence[Loop]) -> None:
        try:
            from taskdb_beat.observation.families import Families  # noqa: PLC0415 - an extra
            from taskdb_beat.observation.metrics_page import metrics_page  # noqa: PLC0415 - an extra
        except ImportError as error:
            advice = f"({error}): pip install 'celery-taskdb[metrics]'"
            raise SettingsError(f"serving HTTP needs the extra for figures {advice}") from None
        settings = taskdb.settings
        holder = f"{socket.gethostname()}/{os.getpid()}/{ULID()}"
        self._reporter = Reporter(settings, taskdb.store, holder)
        self._loop = Loop("metrics", self._reporter.run_once, settings.metrics_interval_seconds)
        disk_gauge = DiskGauge(settings)
        self._disks = Loop("disks", disk_gauge.measure, DISK_SECONDS)
        self._probes = probes(taskdb)
        watched = [*loops, self._loop]
        self._health = Health(watched, self._is_site_up)
        families = Families(
            reporter=self._reporter,
            loops=watched,
            health=self._health,
            probes=self._probes,
            database=taskdb.store.database,
            disk_gauge=disk_gauge,
            tenants=settings.metrics_tenants,
        )
        pages: dict[str, Page] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": metrics_page(families),
        }
        self._server = Server(settings.http_address, pages)
        self._reasons: dict[str, str | None] = {}

    def start(self) -> None:
        self._loop.start()
        self._disks.start()
        self._server.start()
        log.info("http.started", port=self._server.port)

    def stop(self) -> None:
        self._server.stop()
        self._loop.stop(_STOP_SECONDS)
        # A measurement that hangs is not waited for.
        self._disks.stop(0)
        try:
            self._reporter.give_up()
        except DatabaseError as error:
            # Its lease ends by itself.
            log.debug("reporter.handover_failed", reason=str(error))

    def _healthz(self, _accept: str) -> Answer:
        stalled = self._health.stalled()
        if stalled:
            return Answer.of(HTTPStatus.SERVICE_UNAVAILABLE, *stalled)
        return Answer.of(HTTPStatus.OK, "ok")

    def _readyz(self, _accept: str) -> Answer:
        wrong = self._wrong()
        if not wrong:
            return Answer.of(HTTPStatus.OK, "ok")
        # Details are for the log: a page that anyone may read names no host and no user.
        return Answer.of(
            HTTPStatus.SERVICE_UNAVAILABLE, *(f"{name} is not ready" for name in wrong)
        )

    def _is_site_up(self) -> bool:
        return not self._wrong()

    def _wrong(self) -> Mapping[str, str]:
        # Without the payload store a beat does most of its work.
        found = {name: self._probes[name].wrong() for name in ("database", "broker")}
        for name, reason in found.items():
            if reason is not None and self._reasons.get(name) is None:
                log.warning("dependency.lost", dependency=name, reason=reason)
            elif reason is None and self._reasons.get(name) is not None:
                log.info("dependency.recovered", dependency=name)
        self._reasons = found
        return {name: reason for name, reason in found.items() if reason is not None}


def observe(taskdb: TaskDB, loops: Sequence[Loop]) -> Observation:
    """Return the server that the settings ask for, for these loops. Takes the port.

    Raises SettingsError if the port is not available, or the extra is not installed.
    """
    return _Served(taskdb, loops) if taskdb.settings.http else Observation()
