"""Databases in memory: shared by who has the address, fresh for who has another."""

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from taskdb import Settings, SettingsError, TaskDB
from taskdb.store.engine.migrations.revision import head
from taskdb.testing import memory, memory_database


def client(url: str, folder: Path) -> TaskDB:
    settings = Settings(database_url=url, data_dir=folder, allow_unknown_types=True)
    taskdb = TaskDB(settings)
    taskdb.store.units.grace *= 0
    return taskdb


def test_an_engine_of_the_application_s_own_sees_the_same_database(tmp_path: Path) -> None:
    with memory_database() as url, client(url, tmp_path) as taskdb, taskdb.resting():
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE shop_order (customer TEXT)"))
        with Session(engine) as session:
            taskdb.submit_task("x", session=session)
            session.rollback()
            kept = taskdb.submit_task("x", session=session)
            session.execute(text("INSERT INTO shop_order VALUES ('ada')"))
            session.commit()
        with engine.connect() as connection:
            found = connection.execute(text("SELECT id FROM taskdb_task")).scalars().all()
            revision = connection.execute(text("SELECT version_num FROM taskdb_version")).scalar()
        engine.dispose()

        assert found == [kept.id]
        assert revision == head()
        assert taskdb.get_task(kept.id).status == "CREATED"


def test_each_is_fresh_and_gone_at_its_end(tmp_path: Path) -> None:
    with memory_database() as one, memory_database() as other:
        with client(one, tmp_path) as taskdb, taskdb.resting():
            taskdb.submit_task("x")
        with client(other, tmp_path) as taskdb:
            assert taskdb.list_tasks() == ()
    name = one.removeprefix("sqlite:///").partition("&")[0]
    gone = sqlite3.connect(name, uri=True)
    assert gone.execute("SELECT * FROM sqlite_master").fetchall() == []
    gone.close()
    assert [path.name for path in Path.cwd().iterdir() if path.name.startswith("file:")] == []


def test_threads_write_and_read_side_by_side(tmp_path: Path) -> None:
    with memory_database() as url, client(url, tmp_path) as taskdb, taskdb.resting():

        def work() -> None:
            for _ in range(10):
                taskdb.submit_task("x")
                taskdb.list_tasks()

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert len(taskdb.list_tasks(limit=100)) == 60


def test_an_old_sqlite_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sqlite3, "sqlite_version_info", (3, 35, 5))
    with pytest.raises(SettingsError, match=r"3\.36 does: use a file"), memory_database():
        pass
