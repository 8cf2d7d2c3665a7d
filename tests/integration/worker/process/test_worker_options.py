"""Every option of `celery worker` works, or is refused with a reason; none is taken for nothing."""

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.concurrency.base import BasePool
from celery.concurrency.prefork import TaskPool as CelerysPool
from tests.integration.worker_site import Site, site_of

from taskdb.errors import SettingsError
from taskdb.settings.settings import Settings
from taskdb_worker.app import create_app
from taskdb_worker.command import run_worker
from taskdb_worker.process.options import fit_pool
from taskdb_worker.process.prefork import TaskPool


def settings(folder: Path, **celery: object) -> Settings:
    return Settings.load({"TASKDB_DATA_DIR": str(folder), "TASKDB_CELERY": json.dumps(celery)})


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--detach"], "foreground"),
        (["-D", "-c", "1"], "foreground"),
        (["-c1", "-D"], "foreground"),
        (["--umask", "022"], "--detach"),
        (["--executable=/usr/bin/python3"], "--detach"),
        (["-B"], "taskdb beat"),
        (["--beat"], "taskdb beat"),
        (["--purge"], "taskdb cancel"),
        (["--time-limit", "5"], "timeout="),
        (["--soft-time-limit=5"], "soft_timeout="),
        (["--pool-start-method", "spawn"], "fork"),
        (["-P", "gevent"], "heartbeat"),
        (["--pool=eventlet"], "heartbeat"),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_an_option_that_a_worker_cannot_keep_is_refused_with_a_reason(
    tmp_path: Path, words: list[str], reason: str
) -> None:
    with pytest.raises(SettingsError, match="is not for this worker") as refused:
        run_worker(settings(tmp_path), words)
    assert reason in str(refused.value)
    assert not list(tmp_path.glob("*.sqlite3"))


@pytest.mark.parametrize("pool", ["gevent", "eventlet", "celery.concurrency.gevent:TaskPool"])
def test_a_green_pool_of_the_settings_is_refused(tmp_path: Path, pool: str) -> None:
    with pytest.raises(SettingsError, match=r"is not for this worker|worker_pool"):
        create_app(settings(tmp_path, worker_pool=pool), as_current=False)


def test_a_green_pool_of_another_path_is_refused() -> None:
    class Green(BasePool):  # type: ignore[misc]
        is_green = True

    with pytest.raises(SettingsError, match="Green"):
        fit_pool(Green)


@pytest.mark.parametrize(
    ("module", "ask"),
    [("gevent.monkey", "is_module_patched"), ("eventlet.patcher", "is_monkey_patched")],
)
def test_a_process_whose_threads_are_greenlets_is_refused(
    monkeypatch: pytest.MonkeyPatch, module: str, ask: str
) -> None:
    patched = types.ModuleType(module)
    setattr(patched, ask, lambda _name: True)
    monkeypatch.setitem(sys.modules, module, patched)
    with pytest.raises(SettingsError, match="monkey-patched"):
        fit_pool("prefork")


@pytest.mark.parametrize("name", ["prefork", "processes", CelerysPool])
def test_a_pool_of_processes_is_ours_by_whatever_name(name: object) -> None:
    assert fit_pool(name) is TaskPool


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with site_of("embedded", request, tmp_path_factory) as site:
        yield site


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_logs_to_the_file_that_is_named_and_keeps_its_pid(site: Site, pool: str) -> None:
    log, pid = site.folder / "worker.log", site.folder / "worker.pid"
    words = ("-c", "1", "-P", pool, "--logfile", str(log), "--pidfile", str(pid))
    worker = site.start_worker(*words, "--without-heartbeat", ready=False)
    task_id = site.submit("ends.returns").id
    assert site.settled(task_id, 60).status == "COMPLETED"
    assert int(pid.read_text()) == worker.pid
    assert worker.terminate() == 0
    assert not pid.exists()
    written = log.read_text()
    assert f"ends.returns[{task_id}] succeeded" in written
    assert "ends.returns[" not in worker.output
    assert ("pool.limits_ignored" in written) == (pool != "prefork")
    assert oct(log.stat().st_mode & 0o777) == "0o600"
