"""`taskdb status`, `queues` and `workers`: what is going on, on one page."""

from tests.integration.cli_site import Site, cli
from tests.store.tasks import LEASE, OOPS

from taskdb.store.task.worker import WorkerRecord

__all__ = ["cli"]


def test_an_empty_site_says_what_it_lacks(cli: Site) -> None:
    shown = cli("status")
    assert shown.code == 0
    assert "no beat runs" in shown.out and "0 workers, 0 beats" in shown.out
    assert "no open task" in cli("queues").err
    assert "taskdb worker" in cli("workers").err


def test_the_page_counts_each_task_once(cli: Site) -> None:
    ran, halted, _ = (cli.submit("echo") for _ in range(3))
    cli.submit("echo", delay=3600)
    cli.submit("echo", queue="mail")
    with cli.client() as taskdb:
        runs = taskdb.store.runs
        assert runs.claim(ran, token="a", worker="w", max_attempts=1).granted
        assert runs.claim(halted, token="b", worker="w", max_attempts=1).granted
        taskdb.store.outcomes.halt(halted, "b", OOPS)
        taskdb.limits.pause(queue="mail", reason="the provider is down")
        record = WorkerRecord(id="1", name="w@here", host="here", pid=7, queues=("taskdb",))
        taskdb.store.workers.announce(record)
        taskdb.store.beats.renew("beat@here", LEASE)

    first, second = cli("queues", "--json").lines
    assert (first["name"], second["name"]) == ("mail", "taskdb")
    assert {key: value for key, value in second.items() if key != "oldest_seconds"} == {
        "name": "taskdb", "ready": 1, "held": 0, "later": 1, "running": 1, "waiting": 0,
        "halted": 1, "workers": 1, "pause": None,
    }  # fmt: skip
    assert second["oldest_seconds"] >= 0
    assert first["pause"] == "the provider is down"

    page = cli("status")
    assert "1 worker, 1 beat" in page.out
    assert "1 halted" in page.out and "the provider is down" in page.out
    assert max(map(len, page.out.splitlines())) <= 100
    document = cli("status", "--json").document
    assert document["beats"] == ["beat@here"]
    assert [one["name"] for one in document["workers"]] == ["w@here"]
    assert "w@here" in cli("workers").out


def test_ready_tasks_without_a_worker_are_named(cli: Site) -> None:
    cli.submit("echo", queue="mail")
    assert "queue mail has 1 ready and no worker" in cli("status").out


def test_what_comes_next_and_what_is_open(cli: Site) -> None:
    assert cli("schedule", "add", "nightly", "echo", "--every", "1h").code == 0
    assert cli("schedule", "add", "asleep", "echo", "--every", "1h").code == 0
    assert cli("schedule", "pause", "asleep").code == 0
    page = cli("status").out
    assert "nightly" in page and "asleep" not in page
