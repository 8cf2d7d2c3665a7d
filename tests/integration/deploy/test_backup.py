"""The pages about backups do what they say: every command of them runs, on real servers."""

import os
import pwd
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.integration.worker_site import REPOSITORY, Site, embedded
from tests.servers import PostgreSQL, Redis
from tests.servers.server import HOST
from tests.waiting import wait_until

from taskdb.cli.database.doctor import diagnose
from taskdb.errors import TaskNotFound
from taskdb.store.engine.migrations.migrate import migrate

pytestmark = pytest.mark.long

PAGE = (REPOSITORY / "docs/how-to/back-up-and-restore.md").read_text()
BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(r"^ *```console\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
]
QUICK = {"reconcile_after_seconds": 1.0, "reconcile_interval_seconds": 0.5}


def block(word: str) -> str:
    """The one block of the page with this word."""
    (found,) = [one for one in BLOCKS if word in one]
    return found


def run(script: str, environment: Mapping[str, str], user: str | None = None, code: int = 0) -> str:
    """Run a block as a person would paste it; fails with its output where a command fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, **environment},
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, f"{script}\n{done.stdout}"
    return done.stdout


def tools(server: PostgreSQL, database: str) -> dict[str, str]:
    path = f"{server._binaries}:{REPOSITORY / '.venv/bin'}:{os.environ['PATH']}"
    place = {"PGHOST": HOST, "PGPORT": str(server.port), "PGUSER": "postgres"}
    return {**place, "PGDATABASE": database, "PATH": path}


@pytest.fixture
def second() -> Iterator[PostgreSQL]:
    """Another cluster, not yet made."""
    with closing(PostgreSQL()) as server:
        yield server


@pytest.fixture
def ending() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def site_on(
    ending: ExitStack, folder: Path, database_url: str, broker_url: str, **given: float
) -> Site:
    folder.mkdir(exist_ok=True)
    site = Site(folder, database_url=database_url, broker_url=broker_url, **QUICK, **given)
    ending.callback(site.client.close)
    ending.callback(site.processes.close)
    return site


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", ["ahead", "empty"])
def test_a_dump_is_restored_into_a_new_cluster_beside_a_broker_that_is_not_of_its_time(
    own_postgresql: PostgreSQL,
    own_redis: Redis,
    second: PostgreSQL,
    ending: ExitStack,
    tmp_path: Path,
    broker: str,
) -> None:
    site = site_on(ending, tmp_path / "site", own_postgresql.url, own_redis.url)
    backup = tmp_path / "backup"
    backup.mkdir()
    paths = {"BACKUP": str(backup), "TASKDB_PAYLOAD_DIR": str(site.settings.payload_folder)}
    worker = site.start_worker("-c", "1")
    large = site.submit("ends.large", {"text": "payload " * 500})
    site.settled(large.id)
    running = site.submit("ends.waits_large", {"text": "x"})
    site.wait_for_run(running.id)
    waiting = site.submit("ends.returns", {"value": "again"})
    site.wait_for(waiting.id, "QUEUED")
    # Rights of a role that the other cluster does not have.
    site.query("CREATE ROLE of_this_cluster; GRANT SELECT ON taskdb_task TO of_this_cluster")
    run(block("pg_dump"), {**tools(own_postgresql, "postgres"), **paths})

    # The time that the restore takes back.
    site.let_go(running.id)
    for one in (running, waiting):
        assert site.settled(one.id).status == "COMPLETED"
    worker.terminate()
    lost = site.submit("ends.returns", {"value": "lost"})
    site.wait_for(lost.id, "QUEUED")
    site.client.close()
    own_postgresql.stop()
    shutil.rmtree(site.settings.payload_folder)
    site.settings.payload_folder.mkdir()

    second.start()
    environment = {**tools(second, "taskdb"), **paths}
    run(block("createdb"), {**environment, "PGDATABASE": "postgres"})
    run(
        block(
            'tar --extract --skip-old-files --file="$BACKUP/payloads.tar" --directory="$TASKDB_P'
        ),
        paths,
    )
    if broker == "empty":
        own_redis.flush(0)
    restored = site_on(ending, tmp_path / "site", second.url_of("taskdb"), own_redis.url)
    said = run(block("taskdb migrate"), {**environment, **restored.env}, code=1)
    assert "beat_missing" in said

    assert restored.client.get_task(waiting.id).status == "QUEUED"
    assert restored.client.get_task(running.id).status == "STARTED"
    with pytest.raises(TaskNotFound):
        restored.client.get_task(lost.id)
    assert restored.client.get_task(large.id).result == ("payload " * 500)[::-1]

    restored.start_beat()
    worker = restored.start_worker("-c", "1")
    assert restored.settled(waiting.id, 60).status == "COMPLETED"
    assert len(restored.runs(waiting.id)) == 2, "it has run in the time that was lost as well"
    ended = restored.settled(running.id, 60)
    assert (ended.status, ended.attempt, ended.crashes) == ("COMPLETED", 2, 1)
    if broker == "ahead":
        wait_until(lambda: "message.ignored" in worker.output)
    assert restored.runs(lost.id) == []
    new = restored.submit("ends.returns", {"value": "new"})
    assert restored.settled(new.id).status == "COMPLETED"

    def left() -> set[str]:
        return {one.name for one in diagnose(restored.client)}

    # The loss of the old worker is an alarm, and this site has no route for it.
    wait_until(lambda: left() <= {"alarm_unrouted"}, 30, lambda: str(left()))
    restored.close()


def test_a_point_in_time_is_restored_from_a_base_backup_and_the_archive(
    own_postgresql: PostgreSQL, second: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> None:
    user = "nobody" if os.geteuid() == 0 else None
    backup = second.folder / "backup"
    (backup / "wal").mkdir(parents=True)
    if user:
        for folder in (backup, backup / "wal"):
            shutil.chown(folder, user)
    environment = {
        **tools(own_postgresql, "postgres"),
        "BACKUP": str(backup),
        "PGDATA": str(own_postgresql._data),
    }
    archive, base = block("archive_mode").split("pg_ctl restart", 1)
    run(archive, environment, user)
    own_postgresql.stop()
    own_postgresql.start()
    run(base.split("\n", 1)[1], environment, user)

    def say(sql: str) -> str:
        return run(f'psql --tuples-only --no-align --command "{sql}"', environment).strip()

    row = "INSERT INTO taskdb_task (type, queue, input) VALUES ('{}', 'taskdb', 'null')"
    say(row.format("before"))
    point = say("SELECT clock_timestamp()")
    say(row.format("after"))
    say("SELECT pg_switch_wal()")
    wait_until(lambda: say("SELECT last_archived_wal FROM pg_stat_archiver") != "")
    own_postgresql.stop()

    restore = block("recovery.signal").split("pg_ctl start", 1)[0]
    second.folder.chmod(0o777)
    run(restore, {**environment, "PGDATA": str(second._data), "POINT": point}, user)
    second.start()
    environment |= tools(second, "postgres")
    wait_until(lambda: say("SELECT pg_is_in_recovery()") == "f", 30)
    migrate(second.url)
    assert say("SELECT string_agg(type, ',') FROM taskdb_task") == "before"


def test_the_embedded_files_are_copied_while_a_worker_runs_and_restored(
    sqlite_template: Path, tmp_path: Path
) -> None:
    folder, backup = tmp_path / "site", tmp_path / "backup"
    folder.mkdir()
    backup.mkdir()
    with embedded(sqlite_template, folder, **QUICK) as site:
        environment = {
            "BACKUP": str(backup),
            "PATH": f"{REPOSITORY / '.venv/bin'}:{os.environ['PATH']}",
            **site.env,
        }
        site.start_worker("-c", "1")
        large = site.submit("ends.large", {"text": "payload " * 500})
        site.settled(large.id)
        running = site.submit("ends.waits_large", {"text": "x"})
        site.wait_for_run(running.id)
        waiting = site.submit("ends.returns", {"value": 1})
        site.wait_for(waiting.id, "QUEUED")
        run(block("VACUUM INTO"), environment)
        site.let_go(running.id)
        site.settled(waiting.id)
        lost = site.submit("ends.returns", {"value": 2})
        site.settled(lost.id)
        site.close()
        shutil.rmtree(site.settings.payload_folder)

        run(block("rm -f"), environment, code=1)
        assert site.client.get_task(waiting.id).status == "QUEUED"
        with pytest.raises(TaskNotFound):
            site.client.get_task(lost.id)
        site.start_beat()
        site.start_worker("-c", "1")
        assert site.settled(waiting.id, 60).status == "COMPLETED"
        assert site.settled(running.id, 60).status == "COMPLETED"
        assert len(site.runs(waiting.id)) == 2


def test_every_block_of_the_page_is_run_here() -> None:
    words = ("pg_dump", "archive_mode", "createdb", "recovery.signal", '$TASKDB_PAYLOAD_DIR"\n')
    words = (*words, "taskdb migrate", "VACUUM INTO", "rm -f")
    covered = {one for one in BLOCKS if any(word in one for word in words)}
    assert covered == set(BLOCKS)
