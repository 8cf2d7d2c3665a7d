"""check and migrate: every finding, its level, and what the number at the end means."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from sqlalchemy import create_engine, text
from tests.database_roles import Roles, roles
from tests.integration.cli_site import MODULE, Site, cli
from tests.servers import Blackhole

from taskdb.settings.settings import Settings
from taskdb.store.contract import EVERYONE
from taskdb.store.task.worker import WorkerRecord

__all__ = ["cli", "roles"]

AWAY = "127.0.0.1:1"


def findings(cli: Site, code: int) -> dict[str, tuple[str, str]]:
    """Level and words of each subject; of several of one subject, the last."""
    ran = cli("check", "--json")
    assert ran.code == code, ran.out
    return {
        one["subject"]: (one["level"], f"{one['message']} {one['advice']}") for one in ran.lines
    }


def test_a_new_folder_is_ready_and_check_makes_nothing_in_it(cli: Site) -> None:
    found = findings(cli, 0)
    assert found["settings"][0] == "ok"
    assert found["database"] == ("warn", "not made yet the first command that needs it makes it")
    assert found["broker"][0] == found["payloads"][0] == found["task modules"][0] == "ok"
    assert "orders.place" in found["task types"][1]
    assert list(cli.folder.glob(".taskdb")) == []


def test_people_read_what_to_do(cli: Site) -> None:
    cli.submit("echo")
    ran = cli("check")
    assert ran.code == 0
    assert "ok     database      SQLite in" in ran.out
    assert "warn   workers       none was seen" in ran.out
    assert "start one: taskdb worker" in ran.out


def test_workers_that_were_seen_are_named_and_queues_without_one_too(cli: Site) -> None:
    with cli.client() as taskdb:
        taskdb.store.tasks.history("01a1faa9-0000-7000-8000-000000000000", EVERYONE)
        record = WorkerRecord("w/1", "worker-one@host", "host", 1, ("taskdb",), ("echo",))
        taskdb.store.workers.announce(record)
    ran = cli("check")
    assert "worker-one@host" in ran.out
    assert "none takes the queue 'orders'" in ran.out
    assert "taskdb worker -Q orders" in ran.out


def test_a_site_without_a_beat_is_told_and_a_beat_is_named(cli: Site) -> None:
    cli.submit("echo")
    level, words = findings(cli, 0)["beats"]
    assert (level, "start one: taskdb beat" in words) == ("warn", True)
    with cli.client() as taskdb:
        taskdb.store.beats.renew("one@host", timedelta(seconds=30))
    assert findings(cli, 0)["beats"] == ("ok", "1: one@host ")


def test_a_wrong_setting_is_a_finding(cli: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKDB_RELAY_BATCH", "many")
    level, words = findings(cli, 1)["settings"]
    assert level == "error"
    assert "TASKDB_RELAY_BATCH" in words


def test_a_database_that_is_away_is_a_finding(cli: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKDB_DATABASE_URL", f"postgresql://u:hunter2@{AWAY}/x")
    level, words = findings(cli, 1)["database"]
    assert level == "error"
    assert "TASKDB_DATABASE_URL" in words and "hunter2" not in words


def test_a_database_that_nobody_migrated_is_a_finding(
    cli: Site, monkeypatch: pytest.MonkeyPatch, empty_store_url: str
) -> None:
    monkeypatch.setenv("TASKDB_DATABASE_URL", empty_store_url)
    level, words = findings(cli, 1)["database"]
    assert level == "error"
    assert "taskdb migrate" in words


@pytest.mark.parametrize("url", [f"redis://:hunter2@{AWAY}/0", f"amqp://u:hunter2@{AWAY}//"])
def test_a_broker_that_is_away_is_a_finding(
    cli: Site, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("TASKDB_BROKER_URL", url)
    level, words = findings(cli, 1)["broker"]
    assert level == "error"
    assert "TASKDB_BROKER_URL" in words and "hunter2" not in words


def test_a_broker_that_celery_cannot_load_is_a_finding(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_BROKER_URL", "kafka://host")
    level, words = findings(cli, 1)["broker"]
    assert level == "error"
    assert "its transport for kafka://" in words


def test_a_message_file_that_cannot_be_used_is_a_finding(cli: Site) -> None:
    file = cli.folder / ".taskdb" / "messages.sqlite3"
    file.parent.mkdir(mode=0o700)
    file.write_bytes(b"this is no database " * 1000)
    file.chmod(0o600)
    level, words = findings(cli, 1)["broker"]
    assert level == "error"
    assert "not a database" in words
    assert "delete it" in words


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_frozen_is_a_finding_within_seconds(
    cli: Site, monkeypatch: pytest.MonkeyPatch, blackhole: Blackhole, scheme: str
) -> None:
    monkeypatch.setenv("TASKDB_BROKER_URL", f"{scheme}://127.0.0.1:{blackhole.port}/")
    assert findings(cli, 1)["broker"][0] == "error"


def test_a_redis_that_throws_messages_away_is_doubtful(
    cli: Site, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setenv("TASKDB_BROKER_URL", redis_url)
    server = redis.Redis.from_url(redis_url)
    before = server.config_get("maxmemory-policy")["maxmemory-policy"]
    try:
        for policy, level in (("noeviction", "ok"), ("allkeys-lru", "warn")):
            server.config_set("maxmemory-policy", policy)
            assert findings(cli, 0)["broker"][0] == level
    finally:
        server.config_set("maxmemory-policy", before)
        server.close()


def test_a_module_that_cannot_be_imported_is_a_finding(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_TASK_MODULES", f"{MODULE},no_such_module")
    level, words = findings(cli, 1)["task modules"]
    assert level == "error"
    assert "no_such_module" in words


def test_a_module_of_the_current_folder_is_found(cli: Site) -> None:
    Path("shop_tasks.py").write_text(
        "from taskdb import task\n\n@task('shop.open')\ndef shop():\n    return 1\n"
    )
    checking = cli.start("check", TASKDB_TASK_MODULES="shop_tasks")
    assert checking.wait() == 0
    assert "1: shop.open" in checking.output


def test_a_payload_folder_that_is_none_is_a_finding(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("TASKDB_PAYLOAD_DIR", "file/payloads")
    assert findings(cli, 1)["payloads"][0] == "error"


# --- --settings -----------------------------------------------------------------------------------


def test_every_setting_is_listed_with_value_default_and_meaning(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_DATABASE_URL", "postgresql://u:hunter2@host/x")
    monkeypatch.setenv("TASKDB_BROKER_URL", "amqp://u:hunter2@host//")
    monkeypatch.setenv("TASKDB_CELERY", '{"a": "redis://:hunter2@h", "broker_password": "hunter2"}')
    ran = cli("check", "--settings", "--json")
    assert ran.code == 0
    listed = {one["name"]: one for one in ran.lines}
    assert set(listed) == {f"TASKDB_{name.upper()}" for name in Settings.model_fields}
    assert all(one["meaning"] for one in ran.lines)
    assert "hunter2" not in ran.out
    assert listed["TASKDB_DATABASE_URL"]["value"].endswith("u:***@host/x")
    assert "hunter2" not in cli("check", "--settings").out


def test_settings_are_listed_even_when_one_is_wrong(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_RELAY_BACH", "5")
    monkeypatch.setenv("TASKDB_DATABASE_URL", "postgresql://u:hunter2@host/x")
    monkeypatch.setenv("TASKDB_CELERY", '{"api_key": "hunter2"}')
    ran = cli("check", "--settings")
    assert ran.code == 2
    assert "did you mean 'TASKDB_RELAY_BATCH'" in ran.err
    assert "TASKDB_RELAY_BATCH = 500" in ran.out
    assert "hunter2" not in ran.out + ran.err


# --- migrate --------------------------------------------------------------------------------------


def test_a_database_is_migrated_once_and_checked(
    cli: Site, monkeypatch: pytest.MonkeyPatch, empty_store_url: str
) -> None:
    monkeypatch.setenv("TASKDB_DATABASE_URL", empty_store_url)
    before = cli("migrate", "--check", "--json")
    assert (before.code, before.document["is_current"]) == (1, False)
    assert cli("list").code == 5
    assert cli("list", "--json").error["code"] == "DATABASE_NOT_MIGRATED"
    for _ in range(2):
        ran = cli("migrate", "--json")
        assert (ran.code, ran.document["is_current"]) == (0, True)
    assert cli("migrate", "--check").code == 0
    assert cli("list").code == 0


def test_a_database_of_a_newer_release_is_left_alone(
    cli: Site, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as database:
        database.execute("UPDATE taskdb_version SET version_num = '9999'")
        database.commit()
    monkeypatch.setenv("TASKDB_DATABASE_URL", sqlite_url)
    assert cli("migrate", "--check").code == 1
    assert cli("migrate").code == 5
    assert cli("migrate", "--json").error["code"] == "DATABASE_TOO_NEW"
    assert findings(cli, 1)["database"][0] == "error"


def test_a_table_that_has_the_name_of_one_of_ours_is_exit_code_5(
    cli: Site, monkeypatch: pytest.MonkeyPatch, empty_store_url: str
) -> None:
    engine = create_engine(empty_store_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE taskdb_subscription (id INTEGER)"))
    engine.dispose()
    monkeypatch.setenv("TASKDB_DATABASE_URL", empty_store_url)
    ran = cli("migrate")
    assert ran.code == 5
    assert "`taskdb_subscription`" in ran.err and "Rename or drop" in ran.err
    assert cli("migrate", "--json").error["code"] == "TABLE_NAME_TAKEN"


def test_a_role_that_may_not_create_tables_is_told_who_may(
    cli: Site, monkeypatch: pytest.MonkeyPatch, roles: Roles
) -> None:
    # `public` of PostgreSQL 15 and newer lets its owner alone create tables.
    roles.query("owner", "DROP OWNED BY CURRENT_USER CASCADE")
    monkeypatch.setenv("TASKDB_DATABASE_URL", roles.runtime)
    ran = cli("migrate")
    assert (ran.code, ran.out) == (5, "")
    assert "the role of TASKDB_DATABASE_URL may not create or change tables" in ran.err
    assert "GRANT USAGE, CREATE ON SCHEMA" in ran.err


@pytest.mark.parametrize("words", [["list"], ["create-task", "echo"]])
def test_tables_of_another_layout_are_told_with_what_helps(
    cli: Site, monkeypatch: pytest.MonkeyPatch, sqlite_url: str, words: list[str]
) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as database:
        database.execute("ALTER TABLE taskdb_task RENAME COLUMN queue TO old_queue")
    monkeypatch.setenv("TASKDB_DATABASE_URL", sqlite_url)
    ran = cli(*words)
    assert (ran.code, ran.out) == (5, "")
    assert "run `taskdb migrate`" in ran.err and "name an empty database" in ran.err


@pytest.mark.parametrize("option", ["schema=mine", "connect_timeout=soon"])
def test_an_option_of_the_url_that_the_driver_does_not_take_is_told(
    cli: Site, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("TASKDB_DATABASE_URL", f"postgresql://u@{AWAY}/x?{option}")
    ran = cli("list")
    assert ran.code == 5
    assert "mend this option behind the `?` of TASKDB_DATABASE_URL" in ran.err


def test_django_that_cannot_start_is_told(cli: Site) -> None:
    # A process of its own: this one may have started Django for another test.
    ran = cli.start("list", DJANGO_SETTINGS_MODULE="shop.no_settings")
    assert ran.wait() == 2
    assert "Django cannot start with DJANGO_SETTINGS_MODULE=shop.no_settings" in ran.output


@pytest.mark.parametrize("words", [["list"], ["migrate"], ["create-task", "echo"]])
def test_postgresql_without_its_extra_is_told_with_its_name(
    cli: Site, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setenv("TASKDB_DATABASE_URL", f"postgresql://u@{AWAY}/x")
    ran = cli(*words)
    assert (ran.code, ran.out) == (5, "")
    assert "pip install 'celery-taskdb[postgres]'" in ran.err


def test_checking_a_database_that_is_not_there_makes_none(cli: Site) -> None:
    assert cli("migrate", "--check").code == 1
    assert list(cli.folder.iterdir()) == []


def test_a_database_that_is_away_is_exit_code_5(cli: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKDB_DATABASE_URL", f"postgresql://u:hunter2@{AWAY}/x")
    for words in (["migrate"], ["migrate", "--check"], ["list"], ["create-task", "echo"]):
        ran = cli(*words)
        assert (ran.code, ran.out) == (5, "")
        assert "hunter2" not in ran.err
        assert cli(*words, "--json").error["code"] == "DATABASE_UNREACHABLE"


def test_a_data_folder_that_cannot_be_made_is_exit_code_5(
    cli: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("TASKDB_DATA_DIR", "file/data")
    ran = cli("list")
    assert ran.code == 5
    assert ran.err.startswith("error: ")


# --- files ----------------------------------------------------------------------------------------


def test_files_that_others_may_read_are_named_with_the_command(
    cli: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "its data"
    for name in ("DATABASE_URL", "BROKER_URL", "PAYLOAD_DIR"):
        monkeypatch.delenv(f"TASKDB_{name}", raising=False)
    monkeypatch.setenv("TASKDB_DATA_DIR", str(folder))
    monkeypatch.setenv("TASKDB_ARCHIVE_DIR", str(tmp_path / "archive"))
    assert cli("list").code == 0
    (folder / "payloads" / "2026-01-01").mkdir(0o700, parents=True)
    (folder / "payloads").chmod(0o700)
    assert findings(cli, 0)["files"][0] == "ok"

    (tmp_path / "archive").mkdir(0o755)
    (folder / "payloads" / "2026-01-01").chmod(0o750)
    (folder / "tasks.sqlite3").chmod(0o640)
    payload = folder / "payloads" / "2026-01-01" / "a.json"
    payload.touch()
    payload.chmod(0o604)
    said = [one for one in cli("check", "--json").lines if one["subject"] == "files"]
    assert {one["level"] for one in said} == {"warn"}
    for one in said:
        subprocess.run(one["advice"], shell=True, check=True)  # noqa: S602 - our own words
    assert findings(cli, 0)["files"][0] == "ok"
