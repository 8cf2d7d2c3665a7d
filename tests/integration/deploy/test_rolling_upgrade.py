"""A rolling upgrade under load, with real processes of two releases, and the way back."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from tests.integration.worker_site import COMBINATIONS, RUN_BEAT, RUN_WORKER, Site, site_of
from tests.processes import RunningProcess
from tests.releases import REPOSITORY, Release, old_and_new
from tests.waiting import wait_until

from taskdb.client.taskdb import TaskDB

pytestmark = pytest.mark.long

REFUSED = re.compile(
    r"database\.refused|DATABASE_TOO_NEW|DatabaseTooNew|does not know|was migrated for"
    r"|NotMigrated|Traceback|\[(error|critical) +\]|cached plan"
)
CHILD_TASKS = "5"
"""Tasks after which a worker replaces a child: each new one opens its first connection."""
OPEN_TASKS = 40

_names = count(1)


class Rollout:
    """A site on which processes of two releases work."""

    def __init__(self, site: Site, old: Release, new: Release) -> None:
        self.site, self.old, self.new = site, old, new
        self.ids: list[str] = []
        self.failed: list[BaseException] = []

    def start_worker(self, release: Release) -> RunningProcess:
        name = f"w{next(_names)}@upgrade"
        words = ("-n", name, "-c", "2", "--max-tasks-per-child", CHILD_TASKS, "--loglevel", "INFO")
        worker = self._python(release, "-c", RUN_WORKER, *words)
        self.site.workers.append(worker)
        worker.wait_for_output(f"{name} ready.", 60)
        return worker

    def start_beat(self, release: Release) -> RunningProcess:
        beat = self._python(release, "-c", RUN_BEAT)
        beat.wait_for_output("beat.started", 60)
        return beat

    def taskdb(self, release: Release, *words: str) -> str:
        """Run a command of a release to its end, which must be a good one."""
        command = "import sys; from taskdb.cli import main; sys.exit(main())"
        ran = self._python(release, "-c", command, *words)
        assert ran.wait(90) == 0, ran.tail()
        return ran.output

    def _python(self, release: Release, *words: str) -> RunningProcess:
        env = {**self.site.env, **release.env}
        return self.site.processes.python(*words, env=env, cwd=REPOSITORY, fresh=True)

    @contextmanager
    def load(self) -> Iterator[None]:
        """Submit tasks all the time: some of them exclude each other."""
        over = threading.Event()

        def submit() -> None:
            client = TaskDB(self.site.settings)
            try:
                for number in count():
                    if over.wait(0.05):
                        return
                    if number % 10 == 0:
                        wait_until(lambda: len(self.ids) - self.completed() < OPEN_TASKS, 90)
                    key = "m" if number % 10 == 5 else None
                    task = client.submit_task("ends.returns", {"value": number}, mutex_key=key)
                    self.ids.append(task.id)
            except BaseException as error:  # noqa: BLE001 - it is raised by the test
                self.failed.append(error)
            finally:
                client.close()

        thread = threading.Thread(target=submit)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(60)
        assert not self.failed

    def more(self, tasks: int = 25) -> None:
        """Wait until so many more tasks are over."""
        until = self.completed() + tasks

        def are_over() -> bool:
            assert not self.failed, self.failed
            return self.completed() >= until

        wait_until(are_over, 60, lambda: f"{until}: {self.site.statuses()}")

    def completed(self) -> int:
        return self.site.statuses()["COMPLETED"]

    def check(self) -> None:
        """Each task ran once and completed, and no process has complained."""
        wanted = Counter({"COMPLETED": len(self.ids)})
        wait_until(
            lambda: self.site.statuses() == wanted, 60, lambda: f"{wanted}: {self.site.statuses()}"
        )
        runs = Counter(run.task_id for run in self.site.runs())
        assert runs == Counter(self.ids)
        attempts = self.site.query("SELECT DISTINCT attempt, spared, crashes FROM taskdb_task")
        assert [tuple(row.values()) for row in attempts] == [(1, 0, 0)]
        for process in self.site.processes.started:
            found = [line for line in process.output.splitlines() if REFUSED.search(line)]
            assert not found, f"{process}:\n{process.tail()}"


@pytest.fixture(params=COMBINATIONS)
def rollout(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rollout]:
    old, new = old_and_new(tmp_path_factory.mktemp("releases") / "next")
    with site_of(request.param, request, tmp_path_factory) as site:
        yield Rollout(site, old, new)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_rolling_upgrade_under_load_and_the_way_back_lose_nothing_and_refuse_nobody(
    rollout: Rollout,
) -> None:
    old, new = rollout.old, rollout.new
    with rollout.load():
        old_worker, old_beat = rollout.start_worker(old), rollout.start_beat(old)
        rollout.more()

        rollout.taskdb(new, "migrate")
        # Its children are replaced many times, and each opens a connection to the new schema.
        rollout.more()
        new_worker, new_beat = rollout.start_worker(new), rollout.start_beat(new)
        rollout.more()
        assert old_worker.terminate(60) == 0
        old_beat.terminate(60)
        rollout.more()

        # The way back: the old release begins on the schema of the new one.
        said = rollout.taskdb(old, "migrate") + rollout.taskdb(old, "migrate", "--check")
        assert said.count(f"revision {new.head}, newer than this release") == 2
        rollout.start_worker(old)
        rollout.start_beat(old)
        assert new_worker.terminate(60) == 0
        new_beat.terminate(60)
        rollout.more()
    rollout.check()
