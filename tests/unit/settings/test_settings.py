"""Settings: defaults, words of the environment, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy.engine import make_url

from taskdb.celery.configuration import celery_settings
from taskdb.errors import SettingsError
from taskdb.settings.meaning import meanings
from taskdb.settings.settings import Settings


def test_the_defaults_need_no_server() -> None:
    settings = Settings.load({})
    assert settings == Settings()
    assert settings.is_embedded_store
    assert settings.store_url == f"sqlite:///{Path('.taskdb/tasks.sqlite3').absolute()}"
    assert settings.message_url.startswith("taskdb-sqlite:////")
    assert settings.payload_folder == Path(".taskdb/payloads")
    assert settings.payload_inline_bytes == 256 * 1024
    assert settings.payload_limit_bytes == 64 * 1024 * 1024


def test_every_setting_says_what_it_is() -> None:
    assert meanings().keys() == Settings.model_fields.keys() and all(meanings().values())


def test_the_environment_is_read_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKDB_DEFAULT_QUEUE", "slow")
    assert Settings.load().default_queue == "slow"
    assert Settings().default_queue == "taskdb"


def test_an_environment_that_is_given_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKDB_DEFAULT_QUEUE", "slow")
    assert Settings.load({}).default_queue == "taskdb"


def test_importing_reads_nothing_of_the_environment() -> None:
    code = "import taskdb, taskdb.settings.settings, taskdb.store.store"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"TASKDB_NO_SUCH_SETTING": "1", "TASKDB_PAYLOAD_LIMIT_BYTES": "many"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "written", ["a.tasks,b.tasks", " a.tasks , b.tasks ,", ",a.tasks,,b.tasks"]
)
def test_a_list_is_written_with_commas(written: str) -> None:
    assert Settings.load({"TASKDB_TASK_MODULES": written}).task_modules == ("a.tasks", "b.tasks")


def test_an_override_wins_over_the_environment() -> None:
    environment = {"TASKDB_DEFAULT_QUEUE": "slow", "TASKDB_LOG_LEVEL": "debug"}
    settings = Settings.load(environment, default_queue="fast")
    assert (settings.default_queue, settings.log_level) == ("fast", "DEBUG")


def test_names_may_be_lower_case() -> None:
    assert Settings.load({"taskdb_default_queue": "slow"}).default_queue == "slow"


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    names = {f"TASKDB_{name.upper()}": "" for name in Settings.model_fields}
    assert Settings.load(names) == Settings()


def test_settings_for_celery_are_json() -> None:
    assert Settings.load({"TASKDB_CELERY": '{"worker_concurrency": 3}'}).celery == {
        "worker_concurrency": 3
    }


def test_a_misspelled_name_gets_a_hint() -> None:
    with pytest.raises(SettingsError, match="did you mean 'TASKDB_DATABASE_URL'"):
        Settings.load({"TASKDB_DATABSE_URL": "sqlite:///x"})
    with pytest.raises(SettingsError, match="did you mean 'TASKDB_DEFAULT_QUEUE'"):
        Settings.load({}, default_quue="x")


def test_every_unknown_name_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load({"TASKDB_ONE": "1", "TASKDB_TWO": "2"})
    assert "TASKDB_ONE" in str(refused.value)
    assert "TASKDB_TWO" in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "TASKDB_PORT",
        "TASKDB_PORT_8000_TCP",
        "TASKDB_PORT_8000_TCP_ADDR",
        "TASKDB_SERVICE_HOST",
        "TASKDB_SERVICE_PORT",
        "TASKDB_API_SERVICE_PORT_HTTP",
        "TASKDB_API_PORT_8000_TCP_PROTO",
    ],
)
def test_what_kubernetes_says_of_a_service_is_no_setting(name: str) -> None:
    assert Settings.load({name: "tcp://10.0.0.1:8000"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TASKDB_RELAY_BATCH", "0"),
        ("TASKDB_RELAY_BATCH", "many"),
        ("TASKDB_PAYLOAD_LIMIT_BYTES", "-1"),
        ("TASKDB_LOG_LEVEL", "LOUD"),
        ("TASKDB_CELERY", "not json"),
        ("TASKDB_CELERY", "[1]"),
        ("TASKDB_DATABASE_URL", "mysql://host/name"),
        ("TASKDB_DATABASE_URL", "postgresql+psycopg2://host/name"),
        ("TASKDB_DATABASE_URL", "no url"),
        ("TASKDB_DATABASE_URL", "sqlite://"),
        ("TASKDB_DATABASE_URL", "sqlite:///:memory:"),
        ("TASKDB_RELAY_INTERVAL_SECONDS", "inf"),
        ("TASKDB_RELAY_INTERVAL_SECONDS", "nan"),
        ("TASKDB_TASK_TIME_LIMIT_SECONDS", "1e300"),
        ("TASKDB_WORKER_LEASE_SECONDS", "3153600001"),
        ("TASKDB_ALARM_KEEP_DAYS", "36501"),
        ("TASKDB_ALARM_BACKLOG_SECONDS", '{"*": 1e300}'),
        ("TASKDB_RELAY_BATCH", str(2**63)),
        ("TASKDB_DEFAULT_QUEUE", "語" * 100),
        ("TASKDB_DEFAULT_QUEUE", " "),
        ("TASKDB_DEFAULT_TENANT", "a\ud800"),
        ("TASKDB_DEFAULT_TENANT", "a\x00"),
        ("TASKDB_DEFAULT_TENANT", "x" * 501),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.load({name: value})


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"TASKDB_RELAY_BATCH.*TASKDB_MAX_CRASHES"):
        Settings.load({"TASKDB_RELAY_BATCH": "0", "TASKDB_MAX_CRASHES": "0"})


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_through_psycopg(scheme: str) -> None:
    settings = Settings.load({"TASKDB_DATABASE_URL": f"{scheme}://me:p%40ss@host/name"})
    assert settings.store_url == "postgresql+psycopg://me:p%40ss@host/name"
    assert not settings.is_embedded_store


def test_secrets_are_not_shown() -> None:
    settings = Settings.load(
        {
            "TASKDB_DATABASE_URL": "postgresql://me:hunter2@host/name",
            "TASKDB_BROKER_URL": "redis://:hunter2@host",
            "TASKDB_CELERY": '{"redis_password": "hunter2"}',
        }
    )
    assert "hunter2" not in f"{settings!r} {settings}"


def test_a_wrong_value_is_not_repeated_since_it_may_be_a_secret() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load({"TASKDB_DATABASE_URL": "mysql://me:hunter2@host/name"})
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_queues_that_are_quorum_queues_are_all_so_and_have_no_priority_argument() -> None:
    rabbitmq = {"TASKDB_BROKER_URL": "amqp://host//"}
    chosen = {**rabbitmq, "TASKDB_CELERY": '{"task_default_queue_type": "quorum"}'}

    classic, quorum = (celery_settings(Settings.load(one)) for one in (rabbitmq, chosen))

    assert classic["task_queue_max_priority"] == 9
    assert "task_create_missing_queue_type" not in classic
    assert quorum["task_queue_max_priority"] is None
    assert quorum["task_create_missing_queue_type"] == "quorum"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().default_queue = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        (" postgresql://host/name", "remove the spaces around the URL"),
        ("'postgresql://host/name'", "remove the quotes around the URL"),
        ('"postgresql://host/name', "remove the quotes around the URL"),
        ("mysql://me@host/name", "no database mysql:// is supported: write postgresql://"),
        ("host=me dbname=name", "not a database URL: write postgresql://"),
        ("postgresql+asyncpg://host/name", "write postgresql:// instead of postgresql+asyncpg://"),
        ("sqlite+aiosqlite:///file", "write sqlite:// instead of sqlite+aiosqlite://"),
        ("postgresql://me:hunter2@x:y@host/name", "`@` as %40"),
        ("postgresql://me:hunter2@x@host/name", "`@` as %40"),
        ("postgresql://me@host:hunter2/name", "the port is not a number"),
    ],
)
def test_a_database_url_as_people_have_it_is_answered_with_what_to_write(
    url: str, advice: str
) -> None:
    with pytest.raises(SettingsError, match="TASKDB_DATABASE_URL") as refused:
        Settings.load({"TASKDB_DATABASE_URL": url})
    assert advice in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("relay_interval_seconds", "1m", 60.0),
        ("relay_interval_seconds", "250ms", 0.25),
        ("relay_interval_seconds", "60", 60.0),
        ("alarm_keep_days", "2w", 14),
    ],
)
def test_a_duration_is_written_with_a_unit_or_as_a_number(
    name: str, written: str, value: float
) -> None:
    settings = Settings.load({f"TASKDB_{name.upper()}": written})
    assert getattr(settings, name) == value


def test_other_characters_of_a_password_need_no_code() -> None:
    settings = Settings.load({"TASKDB_DATABASE_URL": "postgresql://me:a#b/c?d[e@host/name"})
    assert make_url(settings.store_url).password == "a#b/c?d[e"
