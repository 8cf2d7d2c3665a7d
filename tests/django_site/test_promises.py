"""What holds in a Django project when things go wrong: kill -9, errors, and many at once."""

import random
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import connection, transaction

from taskdb import TaskDB, TaskStatus
from taskdb_beat import Relay
from tests.django_site.orders.models import Order
from tests.django_site.test_transaction import OrderRefused, place, refused
from tests.integration.submit_site import ids, messages
from tests.processes import Processes
from tests.waiting import wait_until

KILLED = """
import os, signal
from pathlib import Path
from tests.django_site import project
project.set_up()
project.enter()
from django.db import transaction
from tests.django_site.orders.models import Order
from taskdb import submit_task
with (
    project.taskdb_settings(Path(os.environ["FOLDER"])),
    project.databases(default=project.django_database(os.environ["URL"])),
    transaction.atomic(),
):
    # The first to hear of the commit: nothing of ours has been published then.
    transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    Order.objects.create(customer="Ada")
    submit_task("orders.pack", {"order": 1})
"""


def test_a_process_that_is_killed_right_after_its_commit_loses_nothing(
    taskdb: TaskDB, store_url: str, tmp_path: Path, processes: Processes
) -> None:
    environment = {
        "URL": store_url,
        "FOLDER": str(tmp_path),
        "PYTHONPATH": ":".join(sys.path),
    }
    dying = processes.python("-c", KILLED, env=environment, cwd=Path(__file__).parents[2])
    assert dying.wait() == -signal.SIGKILL, dying.output
    assert Order.objects.count() == 1
    (row,) = taskdb.list_tasks()
    assert row.status is TaskStatus.CREATED
    assert messages(taskdb) == []
    relay = Relay(taskdb.settings, taskdb.store, taskdb.publisher)
    wait_until(lambda: relay.run_once() or taskdb.get_task(row.id).status is not row.status, 5)
    assert ids(messages(taskdb)) == [row.id]


THREADS, ROUNDS = 50, 6


def placed(story: str) -> list[str]:
    """The ids of what a transaction that goes like this leaves."""
    with transaction.atomic():
        made = [place()]
        if story == "inner error":
            with refused():
                place()
        if story == "two":
            made.append(place())
        if story == "error":
            raise OrderRefused
    return made


def shop_at_random(seed: int, kept: list[str]) -> None:
    """Orders with tasks: committed, taken back whole, or by a savepoint."""
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        with suppress(OrderRefused):
            kept.extend(placed(chance.choice(["commit", "error", "inner error", "two"])))
    connection.close()


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_fifty_threads_end_with_as_many_rows_as_commits(taskdb: TaskDB) -> None:
    kept: list[str] = []
    threads = [
        threading.Thread(target=shop_at_random, args=(seed, kept)) for seed in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    rows = {one.id for one in taskdb.list_tasks(limit=1_000)}
    assert rows == set(kept)
    assert len(kept) == Order.objects.count() > THREADS
    relay = Relay(taskdb.settings, taskdb.store, taskdb.publisher)

    def published() -> bool:
        relay.run_once()
        return all(one.status is TaskStatus.QUEUED for one in taskdb.list_tasks(limit=1_000))

    wait_until(published, 20)
    assert set(ids(messages(taskdb))) == set(kept)
