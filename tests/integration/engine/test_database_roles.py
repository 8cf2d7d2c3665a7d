"""Everything that the application does, it does as a role that owns no table."""

import json

import pytest
from tests.database_roles import Roles, granted, roles
from tests.integration.cli_site import Site, cli
from tests.waiting import wait_until

__all__ = ["cli", "granted", "roles"]


@pytest.fixture
def site(cli: Site, granted: Roles, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The command line, workers and beats as the application's role."""
    given = {
        "TASKDB_DATABASE_URL": granted.runtime,
        "TASKDB_DATA_DIR": str(cli.folder / ".taskdb"),
        "TASKDB_ALARM_CHANNELS": json.dumps({"ops": "json://127.0.0.1:1/"}),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    cli.environment.update(given)
    return cli


def test_a_worker_a_beat_and_the_commands_need_no_right_on_tables(
    site: Site, granted: Roles
) -> None:
    last = (
        "SELECT max(relname) FROM pg_class WHERE relname ~ '^taskdb_event_2[0-9]+$'"
        " AND relkind = 'r'"
    )
    ((day,),) = granted.query("owner", last)
    granted.query("owner", f"DROP TABLE {day}")
    worker = site.start("worker", "--concurrency=1", "-n", "w1@site")
    beat = site.start("beat")
    beat.wait_for_output("beat.started")
    done = site.submit("echo", {"a": 1})
    failed = site.submit("fails")
    later = site.submit("echo", {"a": 2}, delay=1)
    assert site("schedule", "add", "hourly", "echo", "--cron", "0 * * * *").code == 0
    assert site("schedule", "run-now", "hourly").code == 0
    assert site("limit", "set", "--type", "echo", "--max-running", "5").code == 0
    added = site("subscription", "add", "shop", "webhook", "https://example.com/hook", "--json")
    assert added.code == 0, added.err

    for task_id, status in ((done, "COMPLETED"), (later, "COMPLETED"), (failed, "FAILED")):
        wait_until(lambda one=task_id, as_=status: site.status(one) == as_, timeout=60)
    wait_until(
        lambda: granted.query("superuser", "SELECT count(*) FROM taskdb_alarm") == [(1,)],
        timeout=30,
    )
    wait_until(lambda: granted.query("superuser", last) == [(day,)], timeout=30)
    for words in (
        ("list",),
        ("show", done),
        ("why", done),
        ("retry", failed),
        ("pause", "--queue", "orders"),
        ("resume", "--queue", "orders"),
        ("cancel", site.submit("echo", {"a": 3}, delay=600)),
        ("alarm", "list"),
        ("subscription", "list"),
        ("subscription", "show", "shop"),
        ("prune",),
        ("migrate", "--check"),
    ):
        ran = site(*words)
        assert ran.code == 0, (words, ran.out, ran.err)
    mended = site("doctor", "--fix", "--json")
    assert "lacks a right" not in mended.out + mended.err
    found = {one["subject"]: one["level"] for one in site("check", "--json").lines}
    assert found["database role"] == "ok"
    for process in (worker, beat):
        process.terminate()
        assert "lacks a right" not in process.output
        assert "permission denied" not in process.output


def test_people_look_and_do_not_touch(
    site: Site, granted: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = site.submit("echo", {"a": 1})
    assert site("subscription", "add", "shop", "webhook", "https://example.com/hook").code == 0
    monkeypatch.setenv("TASKDB_DATABASE_URL", granted.reader)

    for words in (
        ("list",),
        ("show", task_id),
        ("why", task_id),
        ("schedule", "list"),
        ("limit", "list"),
        ("alarm", "list"),
        ("subscription", "list"),
        ("migrate", "--check"),
    ):
        ran = site(*words)
        assert ran.code == 0, (words, ran.err)
    for words in (
        ("cancel", task_id),
        ("create-task", "echo", "--input", "1"),
        ("pause", "--type", "echo"),
    ):
        ran = site(*words)
        assert ran.code == 5, (words, ran.out)
        assert "taskdb grants" in ran.err
    monkeypatch.setenv("TASKDB_DATABASE_URL", granted.runtime)
    assert str(site.status(task_id)) in {"CREATED", "QUEUED"}


def test_check_warns_of_a_superuser_and_of_missing_rights(
    site: Site, roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for role in ("superuser", "owner", "runtime", "reader"):
        monkeypatch.setenv("TASKDB_DATABASE_URL", getattr(roles, role))
        lines = site("check", "--json").lines
        (found[role],) = [one for one in lines if one["subject"] == "database role"]

    assert {role: one["level"] for role, one in found.items()} == {
        "superuser": "warn", "owner": "ok", "runtime": "ok", "reader": "warn",
    }  # fmt: skip
    assert "is a superuser" in found["superuser"]["message"]
    assert "database-roles.md" in found["superuser"]["advice"]
    assert "taskdb grants --runtime" in found["reader"]["advice"]


def test_the_command_prints_what_it_would_do_and_does_it_when_asked(
    cli: Site, roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_DATABASE_URL", roles.owner)
    words = (
        "grants",
        "--runtime",
        roles.name_of("runtime"),
        "--read-only",
        roles.name_of("reader"),
    )

    printed = cli(*words)
    assert printed.code == 0, printed.err
    assert printed.out.startswith("BEGIN;\n")
    asked = "SELECT has_table_privilege('{}', 'taskdb_task', 'SELECT')"
    assert roles.query("owner", asked.format(roles.name_of("reader"))) == [(False,)]
    roles.query("owner", printed.out)
    assert roles.query("owner", asked.format(roles.name_of("reader"))) == [(True,)]

    applied = cli(*words, "--apply", "--json")
    assert applied.document["is_applied"] is True
    refused = cli("grants", "--runtime", "nobody-here", "--apply")
    assert refused.code == 2
    assert "CREATE ROLE" in refused.err


def test_sqlite_has_no_roles(cli: Site) -> None:
    ran = cli("grants", "--runtime", "app", "--apply")
    assert ran.code == 2
    assert "SQLite has no roles" in ran.err
