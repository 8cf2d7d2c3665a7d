"""A notifier that dies by SIGKILL at one point of its work: `alarm_process.py POINT`."""

import os
import signal
import sys
from typing import Any

from taskdb import TaskDB
from taskdb.outgoing.deliverer import alarm_deliverer
from taskdb.outgoing.folder import Folder
from taskdb.settings.settings import Settings
from taskdb.store.outgoing.alarm import detection as folding
from taskdb.store.outgoing.delivery import Deliveries


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(point: str) -> None:
    with TaskDB(Settings.load()) as taskdb:
        folder = Folder(taskdb.settings, taskdb.store)
        deliverer = alarm_deliverer(taskdb.settings, taskdb.store)
        if point == "counted":
            folding.announce = die  # type: ignore[assignment]
        if point == "decided":
            folding._Place.move = die  # type: ignore[method-assign]
        folder.fold()
        if point == "folded":
            die()
        if point == "sent":
            Deliveries.advance = die  # type: ignore[assignment, method-assign]
        print("sending", flush=True)
        deliverer.run_once()
        deliverer.settle()


if __name__ == "__main__":
    main(sys.argv[1])
