"""Files whose age shows the health of a worker to a check outside of the process."""

from __future__ import annotations

from pathlib import Path

from taskdb.logger import get_logger

log = get_logger("taskdb.heartbeat")


class HealthFiles:
    """Two files that a heartbeat touches, so that a health check needs no query.

    `alive` shows that the process runs, `seen` that its row was renewed. A worker without its
    database is alive, and must not be ended for that. Without a folder nothing is written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._is_broken = False

    def alive(self) -> None:
        """Record that the heartbeat runs."""
        self._touch("alive")

    def seen(self) -> None:
        """Record that the row was renewed."""
        self._touch("seen")

    def _touch(self, name: str) -> None:
        if self._folder is None:
            return
        try:
            # No umask may let other users write: they could report a dead worker as alive.
            self._folder.mkdir(0o755, parents=True, exist_ok=True)
            (self._folder / name).touch(0o644)
        except OSError as error:
            # Logged once: more logs would fill a full disk further.
            if not self._is_broken:
                log.warning("health.write_failed", folder=str(self._folder), reason=str(error))
            self._is_broken = True
        else:
            self._is_broken = False
