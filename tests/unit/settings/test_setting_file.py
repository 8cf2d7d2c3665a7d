"""`TASKDB_<NAME>_FILE`: what a file may hold, and what is never repeated of it."""

import json
import os
from pathlib import Path

import pytest

from taskdb.errors import SettingsError
from taskdb.settings.settings import Settings

URL = "redis://:hunter2@cache/0"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "broker url"


def loaded(file: Path, **environment: str) -> Settings:
    return Settings.load({"TASKDB_BROKER_URL_FILE": str(file), **environment})


def refusal(environment: dict[str, str], **overrides: object) -> str:
    with pytest.raises(SettingsError) as refused:
        Settings.load(environment, **overrides)
    return str(refused.value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_a_setting_is_read_from_a_file_without_its_last_newline(file: Path, end: str) -> None:
    file.write_bytes(f"{URL}{end}".encode())
    assert loaded(file).message_url == URL


def test_a_mark_of_the_encoding_is_no_part_of_the_value(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + URL.encode())
    assert loaded(file).message_url == URL


def test_spaces_are_part_of_the_value(file: Path) -> None:
    file.write_text("redis://:pass word @cache/0\n")
    assert loaded(file).message_url == "redis://:pass word @cache/0"


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_may_stand_in_a_file(file: Path, name: str) -> None:
    file.write_bytes(b"\xff")
    assert f"TASKDB_{name.upper()}_FILE" in refusal({f"TASKDB_{name.upper()}_FILE": str(file)})


def test_names_may_be_lower_case_and_an_empty_one_is_not_set(file: Path) -> None:
    file.write_text(URL)
    assert Settings.load({"taskdb_broker_url_file": str(file)}).message_url == URL
    assert loaded(file, TASKDB_BROKER_URL="", taskdb_broker_url="").message_url == URL
    assert Settings.load({"TASKDB_BROKER_URL_FILE": ""}) == Settings()


def test_variables_of_other_programs_are_no_settings(file: Path) -> None:
    file.write_text(URL)
    environment = {"DATABASE_URL": "mysql://x", "DATABASE_URL_FILE": "/missing"}
    assert loaded(file, **environment).message_url == URL


def test_lists_and_objects_may_stand_in_a_file(file: Path) -> None:
    file.write_text(json.dumps({"worker_concurrency": 3}))
    settings = Settings.load({"TASKDB_CELERY_FILE": str(file)})
    assert settings.celery == {"worker_concurrency": 3}
    file.write_text("a.tasks,\n b.tasks\n")
    assert Settings.load({"TASKDB_TASK_MODULES_FILE": str(file)}).task_modules == (
        "a.tasks", "b.tasks",
    )  # fmt: skip


def test_a_setting_that_is_given_twice_is_refused(file: Path) -> None:
    file.write_text(URL)
    environment = {"TASKDB_BROKER_URL": "redis://other", "TASKDB_BROKER_URL_FILE": str(file)}
    for said in (
        refusal(environment),
        refusal({}, broker_url="redis://other", broker_url_file=str(file)),
        refusal({"taskdb_broker_url": "redis://other", "TASKDB_BROKER_URL_FILE": str(file)}),
    ):
        assert said == (
            "TASKDB_BROKER_URL and TASKDB_BROKER_URL_FILE are both set: remove one of them"
        )


def test_an_override_wins_over_a_file_and_a_file_of_an_override_over_the_environment(
    file: Path,
) -> None:
    missing = {"TASKDB_BROKER_URL_FILE": str(file)}
    assert Settings.load(missing, broker_url="redis://other").message_url == "redis://other"
    file.write_text(URL)
    given = {"TASKDB_BROKER_URL": "redis://other"}
    assert Settings.load(given, broker_url_file=file).message_url == URL


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\xff", "is not UTF-8 text"),
        (b"hunter2\x00", "has a NUL character"),
        (b"hunter2 " * 200_000, "has more than 1,048,576 bytes"),
    ],
)
def test_a_file_that_can_be_no_setting_is_named_without_its_content(
    file: Path, content: bytes, reason: str
) -> None:
    file.write_bytes(content)
    said = refusal({"TASKDB_BROKER_URL_FILE": str(file)})
    assert "TASKDB_BROKER_URL_FILE" in said
    assert str(file) in said
    assert reason in said
    assert "hunter2" not in said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing, folder, pipe = tmp_path / "missing", tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    for path, reason in ((missing, "No such file"), (folder, "irectory"), (pipe, "regular file")):
        said = refusal({"TASKDB_BROKER_URL_FILE": str(path)})
        assert str(path) in said
        assert reason in said
    assert "is not a file path" in refusal({}, broker_url_file="a\x00b")
    assert "is not a file path" in refusal({}, broker_url_file=7)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_of_another_user_is_named(file: Path) -> None:
    file.write_text(URL)
    file.chmod(0)
    assert "Permission denied" in refusal({"TASKDB_BROKER_URL_FILE": str(file)})


@pytest.mark.parametrize(
    "name",
    [
        "http", "payload_url", "database_url", "redact_patterns", "retention", "alarm_channels",
        "alarm_routes", "alarm_sources", "alarm_backlog_seconds", "outbound_private", "schedules",
        "celery", "log_level", "relay_batch", "redact_fields", "default_queue",
    ],
)  # fmt: skip
@pytest.mark.parametrize("content", ["(hunter2", '["(hunter2"]', '{"hunter2 (": 3}', "\thunter2"])
def test_a_wrong_value_of_a_file_is_not_repeated(file: Path, name: str, content: str) -> None:
    # A path that leads to the secret of something else.
    file.write_text(content)
    said = ""
    try:
        Settings.load({f"TASKDB_{name.upper()}_FILE": str(file)})
    except SettingsError as error:
        said = str(error)
    assert "hunter2" not in said
    assert not said or f"TASKDB_{name.upper()}_FILE ({str(file)!r})" in said


def test_a_misspelled_name_of_a_file_gets_a_hint() -> None:
    said = refusal({"TASKDB_DATABSE_URL_FILE": "x"})
    assert "did you mean 'TASKDB_DATABASE_URL_FILE'" in said
