"""A beat's firing pass again and again, by a clock that a test keeps in a file."""

import struct
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.integration.schedule.schedule_site import registry, settings

from taskdb import TaskDB
from taskdb_beat.schedule.schedule import FireSchedules

EPOCH = datetime(2031, 5, 5, tzinfo=UTC)


class FileClock:
    """The moment that stands in a file, in milliseconds from `EPOCH`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def bound(self) -> datetime:
        # One read of eight bytes, which are replaced by one write: never half of a moment.
        return EPOCH + timedelta(milliseconds=struct.unpack("q", self._path.read_bytes())[0])

    def set(self, moment: datetime) -> None:
        milliseconds = int((moment - EPOCH) / timedelta(milliseconds=1))
        with self._path.open("r+b" if self._path.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("q", milliseconds))


def main(store_url: str, folder: str, clock: str) -> None:
    given = settings(store_url, Path(folder))
    with TaskDB(given, registry=registry(), clock=FileClock(Path(clock))) as taskdb:
        # The messages are not what is counted here.
        taskdb.store.joins.on_new = lambda _ids, _families: None
        schedules = FireSchedules(taskdb, batch=50)
        print("ready", flush=True)
        while True:
            if not schedules.run_once():
                time.sleep(0.005)


if __name__ == "__main__":
    main(*sys.argv[1:])
