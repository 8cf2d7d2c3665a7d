"""A notifier that is killed at any point between a failure and its delivery loses nothing."""

import signal
import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.integration.outgoing.alarm_site import AlarmSite, alarm_site, webhook
from tests.processes import Processes
from tests.servers import Answer, Receiver
from tests.store.alarms import fold
from tests.waiting import wait_until

from taskdb.store.store import Store

REPOSITORY = Path(__file__).parents[3]


def environment(site: AlarmSite, receiver: Receiver) -> dict[str, str]:
    channels = f'{{"hook": {{"webhook": "{receiver.url}", "secret": "{webhook("")["secret"]}"}}}}'
    return {
        "TASKDB_DATABASE_URL": site.taskdb.settings.store_url,
        "TASKDB_ALARM_CHANNELS": channels,
        "TASKDB_OUTBOUND_PRIVATE": "127.0.0.0/8",
        "TASKDB_OUTBOUND_PORTS": "1-65535",
        "TASKDB_OUTBOUND_HTTP": "true",
        "PYTHONPATH": str(REPOSITORY),
    }


@pytest.mark.parametrize("point", ["unread", "counted", "decided", "folded", "sending", "sent"])
def test_what_was_killed_at_any_point_still_delivers(
    postgresql_url: str, receiver: Receiver, processes: Processes, point: str
) -> None:
    began = threading.Event()

    def slow(_: object) -> Answer:
        began.set()
        receiver.hold(30)
        return Answer()

    with alarm_site(postgresql_url, {"hook": webhook(receiver.url)}) as site:
        for number in range(3):
            site.fail(f"oops {number}")
        if point == "sending":
            receiver.answer = slow
        if point != "unread":
            # Without it: the process that saw the failure died before it told anyone.
            victim = processes.python(
                "-m", "tests.integration.outgoing.alarm_process", point,
                env=environment(site, receiver), cwd=REPOSITORY,
            )  # fmt: skip
            if point == "sending":
                assert began.wait(30), victim.tail()
                victim.kill()
            assert victim.wait() == -signal.SIGKILL, victim.tail()
        receiver.answer = lambda _: Answer()
        before = len(receiver.taken)
        assert before == (1 if point == "sent" else 0)

        # What it had taken comes free with its lease.
        wait_until(lambda: not site.folder.fold().is_busy, describe="the dead one's lock to go")
        site.make_due()
        site.deliver()
        (alarm,) = site.taskdb.alarms.list()
        assert (alarm.count, alarm.reported, site.waiting()) == (3, 3, {})
        taken = receiver.taken[before:]
        assert [one.json["content"]["total"] for one in taken] == [3]
        ids = {one.headers["webhook-id"] for one in receiver.received}
        assert len(ids) == 1, "a repeated message can be told by its id"
        site.make_due()
        site.deliver()
        assert len(receiver.taken) == before + 1


def test_ten_thousand_failures_in_a_minute_are_one_alarm_and_two_messages(store_url: str) -> None:
    """Written by some, folded by others at the same time."""
    failures, batch, writers = 10_000, 250, 4
    with Store(store_url, pool_size=10).closing() as store:
        (task,) = [str(row["id"]) for row in store.database.query(
            "INSERT INTO taskdb_task (type, queue, status) VALUES ('flood', 'q', 'FAILED')"
            " RETURNING id",
            {},
        )]  # fmt: skip
        insert = text(
            "INSERT INTO taskdb_event (task_id, from_status, to_status, detail)"
            " VALUES (:id, 'STARTED', 'FAILED', :detail)"
        )
        row = {
            "id": task,
            "detail": '{"error": "ValueError", "message": "oops", "place": "a in b"}',
        }
        written = threading.Semaphore(0)

        def write() -> None:
            for _ in range(failures // batch // writers):
                with store.database.transaction() as connection:
                    connection.execute(insert, [row] * batch)
                written.release()

        over = threading.Event()

        def notify() -> None:
            while not over.is_set():
                fold(store)

        threads = [threading.Thread(target=work) for work in [write] * writers + [notify] * 3]
        for thread in threads:
            thread.start()
        for thread in threads[:writers]:
            thread.join()
        over.set()
        for thread in threads[writers:]:
            thread.join()
        while fold(store).events:
            pass
        store.database.query("UPDATE taskdb_alarm SET window_until = :at",
                             {"at": "2020-01-01T00:00:00.000Z"})  # fmt: skip
        fold(store)
        (alarm,) = store.database.query("SELECT count, reported FROM taskdb_alarm", {})
        messages = store.database.query("SELECT count FROM taskdb_delivery ORDER BY sequence", {})

        assert (alarm["count"], alarm["reported"]) == (failures, failures)
        assert len(messages) == 2
        assert sum(one["count"] for one in messages) == failures
