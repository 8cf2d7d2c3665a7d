"""Files by whose age a health check outside of the process knows how a worker does."""

from __future__ import annotations

from pathlib import Path

from taskdb.logger import get_logger

log = get_logger("taskdb.heartbeat")


class HealthFiles:
    """Two files that a heartbeat touches, so that a check costs no server a question.

    `alive` tells that the process goes on, `seen` that its row has been renewed: a worker whose
    database is away is alive, and must not be ended for it. Without a folder nothing is written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._is_broken = False

    def alive(self) -> None:
        """Say that the heartbeat goes on."""
        self._touch("alive")

    def seen(self) -> None:
        """Say that the row was renewed."""
        self._touch("seen")

    def _touch(self, name: str) -> None:
        if self._folder is None:
            return
        try:
            # Others may look, and no umask lets them write: they could speak for a dead worker.
            self._folder.mkdir(0o755, parents=True, exist_ok=True)
            (self._folder / name).touch(0o644)
        except OSError as error:
            # Said once: a full disk would else fill it further.
            if not self._is_broken:
                log.warning("health.write_failed", folder=str(self._folder), reason=str(error))
            self._is_broken = True
        else:
            self._is_broken = False
