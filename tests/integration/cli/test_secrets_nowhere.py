"""No command shows a secret of the settings: not when all is well, not when something fails."""

import json
import pickle
import re
from collections.abc import Callable

import pytest
from tests.integration.cli_site import Site, cli
from tests.waiting import wait_until

from taskdb.errors import SettingsError
from taskdb.settings.settings import Settings

__all__ = ["cli"]

MARK = "Zq7Marker9x"
"""A part of every secret here."""
AWAY = "127.0.0.1:1"
SECRETS = {
    "TASKDB_DATABASE_URL": f"postgresql://user:{MARK}1@{AWAY}/db?sslpassword={MARK}2",
    "TASKDB_BROKER_URL": f"redis://:{MARK}3@{AWAY}/0",
    "TASKDB_REDIS_CHANNEL_URL": f"redis://:{MARK}4@{AWAY}/0",
    "TASKDB_ALARM_CHANNELS": json.dumps(
        {"ops": f"slack://{MARK}5AAAA/{MARK}6BBBB/{MARK}7CCCCCCCCCCCCCCCCCCCCCCC"}
    ),
    "TASKDB_CELERY": json.dumps(
        {
            "broker_transport_options": {"sentinel_kwargs": {"password": f"{MARK}8"}},
            "redis_password": f"{MARK}9",
            "several": [f"redis://:{MARK}A@h", {"token": f"{MARK}B"}],
        }
    ),
    "TASKDB_SCHEDULES": json.dumps(
        [{"name": "a", "type": "t", "every": 60, "input": {"plain": f"{MARK}C"}}]
    ),
}
BROKERS = [
    f"sentinel://:{MARK}1@{AWAY};sentinel://:{MARK}2@127.0.0.1:2",
    f"redis://{AWAY}/0?password={MARK}",
    f"redis://:{MARK}/1@{AWAY}/0",
    f"redis://:12/{MARK}@{AWAY}/0",
    f"redis://:{MARK}?1@{AWAY}/0",
    f"redis://:{MARK}#1@{AWAY}/0",
    f"amqp://user:{MARK}@{AWAY}//",
    f"amqp://user:{MARK}:1@1@{AWAY}//",
    f"amqp://user:{MARK}",
    f"unknown://:{MARK}@{AWAY}",
    MARK,
]
DATABASES = [
    f"postgresql://user:{MARK}/1@{AWAY}/db",
    f"postgresql://user:{MARK}@{MARK}@{AWAY}/db",
    f"postgresql://user:1/{MARK}@{AWAY}/db",
    f"postgresql://user@{AWAY}/db?password={MARK}",
    f"postgresql://user:x@{AWAY}/db?passwrd={MARK}",
    f"postgresql://user:{MARK}@{AWAY}/db?port=x",
    f"postgresql://user:{MARK}@{AWAY}x/db",
    f"mysql://user:{MARK}@{AWAY}/db",
    MARK,
]
WRONG = [
    {"TASKDB_RELAY_BATCH": "0"},
    {"TASKDB_RELAY_BACH": "1"},
    {"TASKDB_CELERY": "{" + MARK},
    {"TASKDB_CELERY": json.dumps({"broker_url": f"redis://:{MARK}@h"})},
    {"TASKDB_CELERY": json.dumps([MARK])},
    {"TASKDB_SCHEDULES": "[" + MARK},
    {"TASKDB_SCHEDULES": json.dumps([MARK])},
    {"TASKDB_SCHEDULES": json.dumps([{"name": "a", "input": {"plain": MARK}}])},
    {"TASKDB_ALARM_CHANNELS": json.dumps({"ops": MARK})},
    {"TASKDB_ALARM_CHANNELS": json.dumps({"ops": {"webhook": f"https://x/{MARK}"}})},
    {"TASKDB_ALARM_CHANNELS": f'{{"ops": "{MARK}'},
    {"TASKDB_PAYLOAD_ENDPOINT": f"http://key:{MARK}@minio"},
]
COMMANDS = [
    ("check",),
    ("check", "--json"),
    ("check", "--settings"),
    ("check", "--settings", "--json"),
    ("doctor", "--debug"),
    ("list", "--debug"),
    ("list", "--json"),
    ("migrate", "--debug"),
    ("alarm", "test", "ops"),
    ("types",),
    ("schedule", "list", "--debug"),
]


ChangedSite = Callable[..., Site]
"""Change settings of the environment, None: take it away; returns the site."""


@pytest.fixture
def changed(cli: Site, monkeypatch: pytest.MonkeyPatch) -> ChangedSite:
    """A site with every secret in its environment, but for what a test changes."""
    # Nothing is sent to where a channel leads.
    monkeypatch.setenv("HTTPS_PROXY", f"http://{AWAY}")

    def change(**settings: str | None) -> Site:
        for name, value in {**SECRETS, **settings}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return cli

    return change


@pytest.fixture
def site(changed: ChangedSite) -> Site:
    return changed()


def shows_nothing(site: Site, *commands: tuple[str, ...]) -> None:
    for words in commands:
        ran = site(*words)
        for line in (ran.out + ran.err).splitlines():
            assert MARK not in line, (words, line)


def test_no_command_shows_a_secret_of_the_settings(site: Site) -> None:
    shows_nothing(site, *COMMANDS)


THREE = (("check", "--settings"), ("check",), ("list", "--debug"))


@pytest.mark.parametrize("url", BROKERS)
def test_no_command_shows_the_password_of_a_broker(changed: ChangedSite, url: str) -> None:
    shows_nothing(changed(TASKDB_DATABASE_URL=None, TASKDB_BROKER_URL=url), *THREE)


@pytest.mark.parametrize("url", DATABASES)
def test_no_command_shows_the_password_of_a_database(changed: ChangedSite, url: str) -> None:
    shows_nothing(changed(TASKDB_BROKER_URL=None, TASKDB_DATABASE_URL=url), *THREE)


@pytest.mark.parametrize("wrong", WRONG)
def test_no_error_of_a_setting_shows_a_secret(changed: ChangedSite, wrong: dict[str, str]) -> None:
    shows_nothing(changed(**wrong), *THREE)


def test_what_a_worker_logs_before_celery_does_has_the_form_of_the_settings(cli: Site) -> None:
    channels = json.dumps({"w": {"webhook": f"http://10.0.0.1/{MARK}", "secret": f"whsec_{MARK}"}})
    environment = {"TASKDB_LOG_FORMAT": "json", "TASKDB_LOG_LEVEL": "DEBUG"}
    environment["TASKDB_ALARM_CHANNELS"] = channels
    process = cli.start("worker", "-l", "DEBUG", "-P", "solo", **environment)
    wait_until(lambda: "channel.open_failed" in process.output, 60, "the channel")
    process.terminate()
    process.wait()
    told = [line for line in process.output.splitlines() if "channel_not_opened" in line]
    assert all(line.startswith("{") for line in told)
    assert MARK not in process.output


@pytest.mark.parametrize("words", [("worker", "-l", "DEBUG", "-P", "solo"), ("beat",)])
def test_no_process_logs_a_secret(site: Site, words: tuple[str, ...]) -> None:
    process = site.start(*words, **{**SECRETS, "TASKDB_LOG_LEVEL": "DEBUG"})
    wait_until(lambda: AWAY in process.output, 60, "an error of a connection")
    process.terminate()
    process.wait()
    assert MARK not in process.output


def test_settings_show_no_secret_of_themselves() -> None:
    settings = Settings.load(SECRETS)
    shown = [repr(settings), str(settings), f"{settings}", repr(settings.model_dump())]
    shown += [settings.model_dump_json(), repr(settings.alarm_channels), repr(vars(settings))]
    with pytest.raises(SettingsError) as refused:
        Settings.load({**SECRETS, "TASKDB_RELAY_BATCH": "0"})
    shown.append(str(refused.value))
    with pytest.raises(ValueError, match="relay_batch") as wrong:
        Settings(database_url=SECRETS["TASKDB_DATABASE_URL"], relay_batch=0)  # type: ignore[arg-type]
    shown.append(str(wrong.value))
    # A dict of its own is the raw value, and whoever pickles settings takes their secrets along.
    shown = [text for text in shown if "'celery'" not in text]
    assert MARK not in "".join(shown)
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own bytes


def test_secrets_of_the_settings_are_known_to_the_log() -> None:
    found = Settings.load(SECRETS).secrets
    named = set(re.findall(rf"{MARK}[0-9A-C]", " ".join(found)))
    assert named >= {f"{MARK}{sign}" for sign in "1234567 89AB".replace(" ", "")}
