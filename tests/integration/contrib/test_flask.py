"""The Flask extension: settings, sessions, several apps, requests, commands, bodies."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, request
from flask_sqlalchemy import SQLAlchemy
from tests.integration.submit_site import ids, messages, until_queued
from werkzeug.middleware.proxy_fix import ProxyFix

from taskdb import Registry, SettingsError, TaskContext, TaskDB, task
from taskdb.contrib.flask import FlaskTaskDB
from taskdb.contrib.flask.testing import rehearsing
from taskdb.testing import rehearse

registry = Registry()


@task("where", registry=registry)
def where(ctx: TaskContext) -> list[str]:
    return [current_app.name, ctx.type]


class Site:
    """An app on a database, its session and its extension."""

    def __init__(self, url: str, folder: Path, name: str = "shop", **options: Any) -> None:
        self.app = app = Flask(name)
        app.config["SQLALCHEMY_DATABASE_URI"] = url
        app.config["TASKDB_DATA_DIR"] = folder
        # No relay runs here: what the publisher is too slow for on a busy machine would stay.
        app.config["TASKDB_PUBLISH_BUDGET_SECONDS"] = 60
        self.db = SQLAlchemy(app)
        self.taskdb = FlaskTaskDB(session=self.db.session, registry=registry, **options)
        self.taskdb.init_app(app)

    def close(self) -> None:
        with self.app.app_context():
            self.taskdb.client.close()
            self.db.engine.dispose()

    @property
    def client(self) -> TaskDB:
        return self.app.extensions["taskdb"].client  # type: ignore[no-any-return]


@pytest.fixture
def url(store_url: str) -> str:
    return store_url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def site(url: str, tmp_path: Path) -> Iterator[Site]:
    site = Site(url, tmp_path)
    yield site
    site.close()


def test_a_commit_of_the_session_publishes_and_a_rollback_leaves_nothing(site: Site) -> None:
    with site.app.app_context():
        kept = site.taskdb.submit_task("where")
        with site.db.session.begin_nested() as savepoint:
            site.taskdb.submit_many("where", [None, None])
            savepoint.rollback()
        site.db.session.commit()
        site.taskdb.submit_fan_out("where", [None])
        site.db.session.rollback()
        site.taskdb.submit_task("where")
    # The end of the context has taken that back.
    with site.app.app_context():
        alone = site.taskdb.submit_task("where", session=None)
        site.db.session.rollback()
    until_queued(site.client, kept.id, alone.id)

    assert {one.id for one in site.client.list_tasks(with_sub_tasks=True)} == {kept.id, alone.id}
    assert sorted(ids(messages(site.client))) == sorted([kept.id, alone.id])


def test_who_submits_is_taken_from_the_request(url: str, tmp_path: Path) -> None:
    site = Site(url, tmp_path, user=lambda: 42)
    site.app.wsgi_app = ProxyFix(site.app.wsgi_app)  # type: ignore[method-assign]

    @site.app.post("/")
    def view() -> str:
        task_id = site.taskdb.submit_task("where").id
        site.db.session.commit()
        return task_id

    @site.app.post("/said")
    def said() -> str:
        task_id = site.taskdb.submit_task("where", created_by="robot").id
        site.db.session.commit()
        return task_id

    headers = {"X-Request-ID": "r-1", "X-Forwarded-For": "6.6.6.6, 10.0.0.9"}
    with site.app.test_client() as browser:
        first = site.client.get_task(browser.post("/", headers=headers).text)
        second = site.client.get_task(browser.post("/said").text)
    site.close()

    assert (first.request_id, first.created_by, first.created_ip) == ("r-1", "42", "10.0.0.9")
    assert (second.request_id, second.created_by) == (None, "robot")
    assert second.created_ip == "127.0.0.1"


def test_what_a_request_forges_is_not_recorded(tmp_path: Path) -> None:
    app = Flask("shop")
    app.config["TASKDB_DATA_DIR"] = tmp_path
    app.config["TASKDB_TRUSTED_PROXIES"] = "10.0.0.0/8"
    extension = FlaskTaskDB(app, registry=registry)

    @app.post("/")
    def submit() -> str:
        return extension.submit_task("where").id

    ids = {"r-1": "r-1", "x" * 201: None, "a\u202eb".encode().decode("latin-1"): None}
    with app.test_client() as browser, app.app_context():
        for given, taken in ids.items():
            answer = browser.post("/", headers={"X-Request-ID": given})
            assert extension.client.get_task(answer.text).request_id == taken
        for peer, expected in (("10.0.0.1", "198.51.100.7"), ("192.0.2.1", "192.0.2.1")):
            answer = browser.post(
                "/",
                headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.7"},
                environ_base={"REMOTE_ADDR": peer},
            )
            assert extension.client.get_task(answer.text).created_ip == expected
        extension.client.close()


def test_each_app_has_a_client_of_its_own_and_its_context_around_its_bodies(
    tmp_path: Path,
) -> None:
    extension = FlaskTaskDB(registry=registry)
    apps = []
    for name in ("one", "two"):
        app = Flask(name)
        app.config["TASKDB_DATA_DIR"] = tmp_path / name
        app.config["TASKDB_DEFAULT_TENANT"] = name
        extension.init_app(app)
        apps.append(app)
    for app in apps:
        with app.app_context():
            client = extension.client
            with rehearse(client) as rehearsal:
                done = rehearsal.run_task("where")
            client.close()
        assert (done.tenant, done.result) == (app.name, [app.name, "where"])


def test_settings_of_the_app_are_checked_when_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Flask("shop")
    app.config["TASKDB_BROKER_ULR"] = "redis://"
    with pytest.raises(SettingsError, match=r"TASKDB_BROKER_ULR; did you mean 'TASKDB_BROKER_URL'"):
        FlaskTaskDB(app)
    del app.config["TASKDB_BROKER_ULR"]
    monkeypatch.setenv("TASKDB_DEFAULT_QUEUE", "environment")
    app.config["TASKDB_RELAY_BATCH"] = 7
    FlaskTaskDB(app)
    settings = app.extensions["taskdb"].client.settings
    assert (settings.default_queue, settings.relay_batch) == ("environment", 7)
    with pytest.raises(RuntimeError, match="has a TaskDB already"):
        FlaskTaskDB(app)


def test_a_secret_of_the_app_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "broker"
    file.write_text("redis://:hunter2@cache/0\n")
    app = Flask("shop")
    app.config["TASKDB_BROKER_URL_FILE"] = file
    FlaskTaskDB(app)
    assert app.extensions["taskdb"].client.settings.message_url == "redis://:hunter2@cache/0"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgresql+psycopg2://u:p@h/shop", "postgresql+psycopg://u:p@h/shop"),
        ("sqlite:///shop.db", "sqlite:////instance/shop.db"),
        ("sqlite:////data/shop.db", "sqlite:////data/shop.db"),
        ("sqlite://", ""),
        ("mysql://h/shop", ""),
    ],
)
def test_the_database_of_the_session_is_that_of_the_tasks(uri: str, expected: str) -> None:
    app = Flask("shop", instance_path="/instance")
    app.config["SQLALCHEMY_DATABASE_URI"] = uri
    FlaskTaskDB(app, session=object())

    assert app.extensions["taskdb"].client.settings.database_url.get_secret_value() == expected


def test_outside_of_an_app_it_says_what_to_do() -> None:
    extension = FlaskTaskDB()
    with pytest.raises(RuntimeError, match="use it in a view, or `with app"):
        extension.submit_task("where")
    app = Flask("bare")
    with app.app_context(), pytest.raises(RuntimeError, match="call init_app"):
        _ = extension.client


def test_the_commands_are_about_the_app(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    runner = site.app.test_cli_runner()
    task_id = site.client.submit_task("where").id
    answer = runner.invoke(args=["taskdb", "run-task", "--json", task_id])
    assert answer.exit_code == 0, answer.output
    done = json.loads(answer.output or capfd.readouterr().out)
    assert done["result"] == ["shop", "where"]
    assert runner.invoke(args=["taskdb", "show", "nobody"]).exit_code != 0
    assert runner.invoke(args=["taskdb", "dev"]).exit_code != 0
    assert "flask" in sys.modules


def test_a_view_that_raises_in_a_context_of_the_test_locks_nothing(site: Site) -> None:
    site.app.testing = True

    @site.app.post("/")
    def view() -> str:
        site.taskdb.submit_task("where")
        if "fail" in request.args:
            raise ZeroDivisionError
        site.db.session.commit()
        return "placed"

    with site.app.app_context(), rehearsing(site.app) as rehearsal:
        with pytest.raises(ZeroDivisionError):
            site.app.test_client().post("/?fail")
        assert rehearsal.submitted() == []
        site.app.test_client().post("/")
        rehearsal.assert_submitted("where", count=1)
        assert rehearsal.drain().failed == ()
