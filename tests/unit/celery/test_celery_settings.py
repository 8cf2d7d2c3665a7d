"""Celery settings that would break a promise are refused at the start, by name, with a reason."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each

from taskdb import Registry, Settings, SettingsError, TaskDB, task
from taskdb.celery.configuration import create_celery
from taskdb.celery.refused_settings import RULES
from taskdb_worker.app import create_app

OTHERS: dict[str, Any] = {
    "result_backend": "redis://:hunter2@localhost/1",
    "result_accept_content": ["pickle"],
    "result_expires": 60,
    "result_serializer": "pickle",
    "result_chord_join_timeout": 60,
    "accept_content": ["json", "pickle"],
    "task_serializer": "pickle",
    "event_serializer": "pickle",
    "worker_pool_restarts": True,
    "task_acks_late": False,
    "task_reject_on_worker_lost": True,
    "task_retry_on_worker_lost": True,
    "task_ignore_result": False,
    "task_store_errors_even_if_ignored": True,
    "task_protocol": 1,
    "task_always_eager": True,
    "task_allow_error_cb_on_chord_header": True,
    "task_soft_time_limit": 30,
    "task_compression": "unheard-of",
    "beat_schedule": [{"task": "nightly", "schedule": 60}],
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "worker_deduplicate_successful_tasks": True,
    "worker_detach": True,
    "worker_umask": "022",
    "worker_executable": "/usr/bin/python3",
    "worker_beat": True,
    "worker_purge": True,
    "worker_time_limit": 30,
    "worker_soft_time_limit": 20,
    "broker_url": "redis://:hunter2@elsewhere/0",
    "broker_read_url": "redis://elsewhere/0",
    "broker_write_url": "redis://elsewhere/0",
    "task_default_queue": "celery",
    "CELERY_RESULT_BACKEND": "redis://localhost/1",
    "CELERY_TASK_SERIALIZER": "pickle",
    "CELERY_ALWAYS_EAGER": True,
    "CELERY_TASK_ALWAYS_EAGER": True,
    "CELERYD_CONCURRENCY": 3,
    "BROKER_URL": "redis://elsewhere/0",
}


def settings(folder: Path, **celery: Any) -> Settings:
    return Settings(data_dir=folder, celery=celery)


@each("start", [create_celery, TaskDB, create_app])
@each("name", OTHERS)
def test_a_setting_that_would_break_a_promise_is_refused_by_name(
    tmp_path: Path, name: str, start: Callable[[Settings], Any]
) -> None:
    with pytest.raises(SettingsError, match=f"TASKDB_CELERY: `{name}`") as caught:
        start(settings(tmp_path, **{name: OTHERS[name]}))
    assert "hunter2" not in str(caught.value)


def test_every_rule_is_tried() -> None:
    assert RULES.keys() <= OTHERS.keys()


@pytest.mark.parametrize("value", [[], {}, [[]], 7, "", None, object()])
@pytest.mark.parametrize("name", ["accept_content", "task_serializer", "task_compression"])
def test_a_value_of_any_kind_is_refused_in_words(tmp_path: Path, name: str, value: Any) -> None:
    if name == "task_compression" and value is None:
        return
    with pytest.raises(SettingsError, match=name):
        create_celery(settings(tmp_path, **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("worker_concurrency", 3),
        ("accept_content", ["application/json"]),
        ("result_serializer", "json"),
        ("task_compression", "zlib"),
        ("task_create_missing_queues", False),
        ("task_acks_late", True),
        ("task_annotations", {"*": {"rate_limit": "10/s"}}),
        ("timezone", "Europe/Berlin"),
    ],
)
def test_all_others_are_the_users(tmp_path: Path, name: str, value: Any) -> None:
    with create_celery(settings(tmp_path, **{name: value})) as app:
        assert app.conf[name] == value


def test_a_broker_that_is_named_twice_alike_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "redis://localhost/0"
    monkeypatch.setenv("CELERY_BROKER_URL", url)
    given = Settings(data_dir=tmp_path, broker_url=url, celery={"broker_url": url})
    create_celery(given).close()


@pytest.mark.parametrize(
    "name", ["RESULT_BACKEND", "BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL"]
)
def test_a_variable_of_celerys_is_that_of_another_app_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"CELERY_{name}", "redis://elsewhere/0")
    ours = Settings(data_dir=tmp_path, broker_url="redis://localhost/7")
    with create_celery(ours) as app:
        for connection in (app.connection_for_read(), app.connection_for_write()):
            assert (connection.hostname, connection.virtual_host) == ("localhost", "7")
        assert type(app.backend).__name__ == "RowBackend"
        assert app.conf.broker_url == "redis://localhost/7"


ANNOTATIONS = {
    "acks_late": False,
    "reject_on_worker_lost": True,
    "ignore_result": False,
    "serializer": "pickle",
    "store_errors_even_if_ignored": True,
}


@each("name", ANNOTATIONS)
@each("whose", ["*", "greet"])
@each("wrap", [lambda one: one, lambda one: [{}, one], lambda one: (one,)])
def test_an_annotation_that_would_break_a_promise_is_refused(
    tmp_path: Path, name: str, whose: str, wrap: Callable[[Any], Any]
) -> None:
    annotations = wrap({whose: {name: ANNOTATIONS[name]}})
    with pytest.raises(SettingsError, match=f"task_annotations`: `{name}`"):
        create_celery(settings(tmp_path, task_annotations=annotations))


class Careless:
    """Annotations in the form of an object."""

    def annotate(self, task: Any) -> dict[str, Any]:
        return {"acks_late": False} if task.name == "greet" else {}

    def annotate_any(self) -> dict[str, Any]:
        return {}


def test_an_annotation_by_an_object_is_refused_at_the_task(tmp_path: Path) -> None:
    registry = Registry()
    task("greet", registry=registry)(lambda: None)
    given = settings(tmp_path, task_annotations=[Careless()])
    with (
        TaskDB(given, registry=registry) as taskdb,
        pytest.raises(SettingsError, match="of greet: `acks_late` False"),
    ):
        create_app(taskdb=taskdb, as_current=False)


def test_settings_that_are_added_later_are_looked_at_too(tmp_path: Path) -> None:
    with create_celery(settings(tmp_path)) as app:
        app.config_from_object({"worker_concurrency": 3, "result_backend": "redis://elsewhere"})
        assert app.conf.worker_concurrency == 3
        assert app.conf.result_backend == "taskdb.celery.result_backend.RowBackend"
        with pytest.raises(SettingsError, match="`task_always_eager` True"):
            app.config_from_object({"task_always_eager": True})


def test_settings_of_a_module_that_celery_imports_itself_are_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "careless_celery.py").write_text("task_always_eager = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "careless_celery")
    with pytest.raises(SettingsError, match="`task_always_eager` True"):
        create_celery(settings(tmp_path))


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("redis://:a[hunter2@host/0", "`[` as %5B"),
        ("redis://host:hunter2/0", "the port is a number"),
        ("redis://host/0?visibility_timeout=60", "here visibility_timeout, do not go behind"),
        ("librabbitmq://host", "(librabbitmq is not installed): Celery cannot load its transport"),
        ("kafka://host", "Celery cannot load its transport for kafka://"),
        ("http://host", "no broker is known for http://"),
    ],
)
def test_a_broker_url_that_cannot_be_used_is_answered_with_what_to_write(
    tmp_path: Path, url: str, advice: str
) -> None:
    with pytest.raises(SettingsError, match="TASKDB_BROKER_URL") as refused:
        create_celery(Settings(data_dir=tmp_path, broker_url=url))
    assert advice in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", [" redis://host/0", "'redis://host/0'"])
def test_a_broker_url_stands_without_spaces_and_quotes(url: str) -> None:
    with pytest.raises(SettingsError, match=r"TASKDB_BROKER_URL: remove the (spaces|quotes)"):
        Settings.load({"TASKDB_BROKER_URL": url})


def test_redis_without_its_extra_is_answered_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingsError, match=r"pip install 'celery-taskdb\[redis\]'"):
        create_celery(Settings(data_dir=tmp_path, broker_url="redis://localhost/0"))
