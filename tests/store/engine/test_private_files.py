"""Files and folders of the embedded mode belong to this user alone, whatever the umask says."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from taskdb.celery.embedded.file import MessageFile
from taskdb.client.taskdb import TaskDB
from taskdb.private_path import is_replaceable, is_wide, make_file, make_folder, owner_of
from taskdb.settings.settings import Settings
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.payload.payload import FolderPayloadStore
from taskdb.store.retention.archive import Archive
from taskdb_worker.process.health_files import HealthFiles


@pytest.fixture(params=[0o000, 0o022, 0o277], autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """The rights of everything in a folder, and of itself."""
    found = {".": stat.S_IMODE(folder.stat().st_mode)}
    for path in folder.rglob("*"):
        found[str(path.relative_to(folder))] = stat.S_IMODE(path.stat().st_mode)
    return found


def test_all_that_the_embedded_mode_makes_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    settings = Settings(data_dir=folder, payload_inline_bytes=10)
    with TaskDB(settings) as taskdb:
        # In WAL mode the files beside it exist while it is open.
        taskdb.store.database.query("SELECT 1", {})
        file = MessageFile(folder / "messages.sqlite3")
        file.check()
        FolderPayloadStore(settings.payload_folder).write("a.json", b"x" * 100)
        Archive(folder / "archive").append([{"id": 1}], datetime.now(UTC))
        found = modes(folder)
        file.close()
    names = {name for name in found if "." in name[1:]}
    for database in ("tasks.sqlite3", "messages.sqlite3"):
        assert {database, f"{database}-wal", f"{database}-shm"} <= names
    assert "tasks.sqlite3.migrate" in names
    assert {oct(mode) for name, mode in found.items() if name in names} == {"0o600"}
    assert {oct(mode) for name, mode in found.items() if name not in names} == {"0o700"}
    assert oct(stat.S_IMODE((tmp_path / "deep").stat().st_mode)) == "0o700"


def test_a_named_database_is_private_too(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path / 'data' / 'named.sqlite3'}")
    assert set(modes(tmp_path / "data").values()) == {0o600, 0o700}


def test_what_exists_keeps_its_rights_and_its_locks(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(0o700)
    folder.chmod(0o750)
    file = folder / "tasks.sqlite3"
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("CREATE TABLE a (b)")
    file.chmod(0o640)
    connection.execute("BEGIN IMMEDIATE")
    make_folder(folder)
    make_file(file)
    # A handle that was opened and closed would have dropped the lock.
    other = sqlite3.connect(file, timeout=0)
    if os.fork() == 0:
        try:
            sqlite3.connect(file, timeout=0).execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
    other.close()
    connection.execute("ROLLBACK")
    connection.close()
    assert modes(folder) == {".": 0o750, "tasks.sqlite3": 0o640}


def test_a_new_file_never_follows_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    make_file(tmp_path / "link")
    assert not target.exists()


def test_wide_and_foreign_paths_are_known(tmp_path: Path) -> None:
    wide, narrow = tmp_path / "wide", tmp_path / "narrow"
    for path, mode in ((wide, 0o640), (narrow, 0o600)):
        path.touch()
        path.chmod(mode)
    assert (is_wide(wide), is_wide(narrow), is_wide(tmp_path / "none")) == (True, False, False)
    (tmp_path / "link").symlink_to(wide)
    assert is_wide(tmp_path / "link")
    assert owner_of(wide) is None
    if os.geteuid() == 0:
        os.chown(wide, 4711, 4711)
        assert owner_of(wide) == 4711
    tmp_path.chmod(0o777)
    assert is_replaceable(tmp_path)
    tmp_path.chmod(0o1777)
    assert not is_replaceable(tmp_path)
    tmp_path.chmod(0o700)


def test_a_new_database_can_shrink(tmp_path: Path) -> None:
    with TaskDB(Settings(data_dir=tmp_path / "data")) as taskdb:
        pragma = taskdb.store.database.read(
            lambda one: one.execute(text("PRAGMA auto_vacuum")).scalar_one()
        )
    assert pragma == 2


def test_nobody_else_can_speak_for_a_worker_in_its_health_files(tmp_path: Path) -> None:
    HealthFiles(tmp_path / "health").alive()
    assert not any(mode & 0o022 for mode in modes(tmp_path / "health").values())
