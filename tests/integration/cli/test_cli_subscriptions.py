"""`taskdb subscription …`: each command, its page, and secrets that are told once."""

import re
from pathlib import Path

import pytest
from tests.cases import each
from tests.integration.cli_site import REPOSITORY, Site, cli
from tests.integration.notify_site import deliver_all, delivering
from tests.servers import Receiver

from taskdb import verify_webhook
from taskdb.cli.command_table import COMMANDS
from taskdb.outgoing.signing import new_secret

__all__ = ["cli"]

PAGE = REPOSITORY / "docs" / "reference" / "command-line.md"
NAMES = [one.name for one in COMMANDS if one.group == "subscription"]


@each("name", NAMES)
def test_the_page_of_the_command_line_names_every_option(cli: Site, name: str) -> None:
    shown = set(re.findall(r"--[a-z][a-z-]+", cli("subscription", name, "--help").out))
    assert {"--json", "--debug"} <= shown
    page = PAGE.read_text(encoding="utf-8").split(f"\n## taskdb subscription {name}\n")[1]
    rows = [line for line in page.split("\n## ")[0].splitlines() if line.startswith("| `")]
    written = set(re.findall(r"`(--[a-z][a-z-]+)", "\n".join(rows)))
    assert written == shown - {"--help", "--json", "--debug"}


def test_a_subscription_from_its_making_to_its_end(
    cli: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_OUTBOUND_PRIVATE", "127.0.0.0/8")
    monkeypatch.setenv("TASKDB_OUTBOUND_PORTS", "1-65535")
    monkeypatch.setenv("TASKDB_OUTBOUND_HTTP", "true")
    made = cli("subscription", "add", "hook", "webhook", receiver.url, "--status", "created")
    assert made.code == 0, made.err
    (secret,) = re.findall(r"^whsec_\S+$", made.out, re.MULTILINE)
    assert "not shown again" in made.err
    assert cli("subscription", "add", "hook", "webhook", receiver.url).code == 2
    assert cli("subscription", "test", "hook").out.startswith("delivered test-")
    first = receiver.taken[0]
    assert verify_webhook(secret, first.headers, first.body)

    task_id = cli.submit("echo", {"text": "a"})
    with cli.client() as taskdb, delivering(taskdb) as deliver:
        deliver_all(deliver)
        assert [one.json["taskId"] for one in receiver.taken[1:]] == [task_id]
        shown = cli("subscription", "show", "hook", "--json")
        assert (shown.document["sent"], shown.document["status"]) == (1, ["CREATED"])
        for place in ("beginning", "1h", "2020-01-01T00:00", "now", shown.document["cursor"]):
            assert cli("subscription", "replay", "hook", "--from", place).code == 0, place
            deliver_all(deliver)
        assert [one.json["taskId"] for one in receiver.taken[1:]] == [task_id] * 4
        assert len({one.headers["webhook-id"] for one in receiver.taken[1:]}) == 1

    rotated = cli("subscription", "rotate-secret", "hook", "--overlap", "1h", "--json").document
    assert rotated["secret"].startswith("whsec_") and rotated["secret"] != secret
    assert rotated["previous_secret_until"]
    assert "paused" in cli("subscription", "pause", "hook").out
    listed = cli("subscription", "list", "--state", "paused", "--json")
    assert [one["name"] for one in listed.lines] == ["hook"]
    assert "active" in cli("subscription", "resume", "hook").out
    told = [cli("subscription", word, "hook") for word in ("show", "pause", "resume")]
    for ran in [*told, listed, shown, cli("subscription", "list")]:
        assert "whsec_" not in ran.out + ran.err
    receiver.stop()
    failed = cli("subscription", "test", "hook")
    assert failed.code == 1 and "no answer" in failed.err
    assert cli("subscription", "remove", "hook").code == 0
    assert cli("subscription", "show", "hook").code == 3
    assert "taskdb subscription add" in cli("subscription", "list").err


def test_a_secret_of_ones_own_comes_from_a_file_and_is_not_printed(
    cli: Site, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(new_secret() + "\n")
    words = ("subscription", "add", "hook", "webhook", "https://93.184.215.14/")
    made = cli(*words, "--secret-file", str(file), "--tenant", "acme", "--json")
    assert (made.code, made.document["tenant"]) == (0, "acme")
    assert "secret" not in made.document
    file.write_text("hunter2")
    for options in (("--secret-file", str(file)), ("--secret-file", str(tmp_path / "absent"))):
        refused = cli("subscription", "rotate-secret", "hook", *options)
        assert refused.code == 2 and "hunter2" not in refused.err
    assert cli("subscription", "show", "hook", "--tenant", "other").code == 3


@each(
    "words, message",
    [
        (["hook", "webhook", "https://127.0.0.1/"], "TASKDB_OUTBOUND_PRIVATE"),
        (["hook", "webhook", "http://93.184.215.14/"], "TASKDB_OUTBOUND_HTTP"),
        (["hook", "webhook", "https://93.184.215.14:8443/"], "TASKDB_OUTBOUND_PORTS"),
        (["hook", "webhook", "ftp://host/"], "http"),
        (["hook", "sns", "topic"], "ARN"),
        (["hook", "redis", "a:b"], "first word"),
        (["hook", "redis"], "TASKDB_REDIS_CHANNEL_URL"),
        (["hook", "log", "here"], "no target"),
        (["hook", "log", "--type", "a*b"], "type"),
        (["hook", "log", "--status", "DONE"], "no status"),
        (["hook", "log", "--from", "soon"], "--from"),
        (["", "log"], "name"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    cli: Site, words: list[str], message: str
) -> None:
    ran = cli("subscription", "add", *words)
    assert ran.code == 2 and message in ran.err
    assert cli("subscription", "list", "--json").lines == []


def test_the_doctor_lists_a_dead_subscription(cli: Site) -> None:
    assert cli("subscription", "add", "gone", "log").code == 0
    with cli.client() as taskdb:
        taskdb.store.database.query("UPDATE taskdb_subscription SET state = 'dead'", {})
    ran = cli("doctor", "--json")
    assert ran.code == 1
    (dead,) = [one for one in ran.document["drift"] if one["name"] == "subscription_dead"]
    assert dead["examples"] == ["gone"]
