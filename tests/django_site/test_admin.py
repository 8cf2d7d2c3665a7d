"""The admin: what a person sees of tasks and schedules, and what they may do."""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connections
from django.http import HttpRequest
from django.test import Client, override_settings

from taskdb import SettingsError, TaskDB, TaskStatus
from taskdb.client.default import default_taskdb
from taskdb.contrib.django import admin
from taskdb.contrib.django.models import Task
from taskdb_worker.command import run_task
from tests.django_site import project
from tests.integration.submit_site import until_queued

GONE = "exist. Perhaps it was deleted?"
TASKS, SCHEDULES = "/admin/taskdb/task/", "/admin/taskdb/schedule/"


@pytest.fixture
def site(store_url: str, tmp_path: Path, at_home: None) -> Iterator[TaskDB]:
    """A project with the admin, and its tables."""
    with (
        project.taskdb_settings(tmp_path),
        override_settings(**project.WEB),
        project.databases(default=project.django_database(store_url)),
    ):
        call_command("migrate", verbosity=0)
        taskdb = default_taskdb()
        yield taskdb
        # Settings of the test have put another one in its place, but the test goes on with this.
        taskdb.close()
        default_taskdb().close()
        connections.close_all()


def person(name: str, *permissions: str) -> Client:
    """A client in which this member of the staff has logged in."""
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    client = Client()
    client.force_login(user)
    return client


def text(client: Client, path: str, **query: str) -> str:
    answer = client.get(path, query, follow=True)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def act(client: Client, path: str, action: str, *ids: str) -> str:
    """Carry out an action of a list; what the next page says."""
    answer = client.post(path, {"action": action, "_selected_action": ids}, follow=True)
    return html.unescape(answer.content.decode())


def retry(client: Client, *ids: str, **more: str) -> str:
    """Retry some, and say yes to the page that asks."""
    asked = client.post(TASKS, {"action": "retry_tasks", "_selected_action": ids}).content.decode()
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', asked)
    form: dict[str, list[str]] = {}
    for name, value in hidden:
        form.setdefault(name, []).append(value)
    assert form["_selected_action"] == list(ids)
    answer = client.post(TASKS, {**form, **more}, follow=True)
    return html.unescape(answer.content.decode())


def only_acme(request: HttpRequest) -> list[str] | None:
    """`TASKDB["ADMIN_TENANTS"]` of the tests."""
    return None if request.user.get_username() == "root" else ["acme"]


def spelled_acme(request: HttpRequest) -> str:
    """One that answers a text by mistake."""
    return "acme"


def some_tasks(taskdb: TaskDB) -> dict[str, str]:
    """One task of each kind that a page shows differently; their ids."""
    failed = taskdb.submit_task(
        "orders.refuse", {"reason": "<b>no stock</b>"}, tenant="acme", created_by="ada"
    ).id
    run_task(taskdb, failed)
    done = taskdb.submit_task("orders.pack", {"order": 7}, name="Pack order 7").id
    run_task(taskdb, done)
    fan_out = taskdb.submit_fan_out("orders.pack", [{"order": n} for n in range(3)]).id
    waiting = taskdb.submit_task("orders.pack", tenant="acme", request_id="r-1").id
    until_queued(taskdb, waiting)
    return {"failed": failed, "done": done, "fan_out": fan_out, "waiting": waiting}


def test_what_a_person_sees_and_may_do(site: TaskDB, tmp_path: Path) -> None:
    ids = some_tasks(site)
    part = site.trees.sub_tasks(ids["fan_out"])[0].id
    reader, keeper = (
        person("reader", "view_task"),
        person("keeper", "view_task", "retry_task", "cancel_task"),
    )

    # The list: submitted tasks, filtered and searched.
    listed = text(reader, TASKS)
    for task_id in ids.values():
        assert f"{TASKS}{task_id}/change/" in listed
    assert part not in listed
    assert part in text(reader, TASKS, place="all")
    assert part in text(reader, TASKS, parent__id__exact=ids["fan_out"])
    assert ids["done"] not in text(reader, TASKS, status__exact="FAILED")
    for words, found in (
        (ids["done"], "done"),
        (site.get_task(ids["done"]).code, "done"),
        ("order 7", "done"),
        ("r-1", "waiting"),
        ("ada", "failed"),
    ):
        page = text(reader, TASKS, q=words)
        assert [name for name, one in ids.items() if one in page] == [found], words
    assert part in text(reader, TASKS, q=part)
    assert "0 tasks" in text(reader, TASKS, q="nothing like it")

    # One task.
    raw = reader.get(f"{TASKS}{ids['failed']}/change/").content.decode()
    assert "<b>no stock</b>" not in raw
    page = html.unescape(raw)
    for words in ("ValueError", "Traceback", "no stock", "acme", "ada", "orders.refuse"):
        assert words in page
    assert 'value="Retry"' not in page
    parent = text(reader, f"{TASKS}{ids['fan_out']}/change/")
    assert f"{TASKS}{part}/change/" in parent
    assert "0 of 3 ended, 0 failed" in parent
    assert f"{TASKS}{ids['fan_out']}/change/" in text(reader, f"{TASKS}{part}/change/")
    assert "worker" in text(reader, f"{TASKS}{ids['waiting']}/change/")
    gone = "00000000-0000-7000-8000-000000000000"
    assert GONE in text(reader, f"{TASKS}{gone}/change/")
    assert Client().get(f"{TASKS}{ids['failed']}/change/").status_code == 302

    # Nobody writes here, and who may only read moves nothing.
    for path in (f"{TASKS}add/", f"{TASKS}{ids['done']}/delete/"):
        assert keeper.get(path).status_code == 403
    act(reader, TASKS, "retry_tasks", ids["failed"])
    assert reader.post(f"{TASKS}{ids['failed']}/retry/").status_code == 403
    assert reader.post(f"{TASKS}{ids['waiting']}/cancel/").status_code == 403
    assert site.get_task(ids["failed"]).status is TaskStatus.FAILED
    assert person("nobody").get(TASKS).status_code == 403

    # Who may, moves; what cannot move says why.
    assert keeper.get(f"{TASKS}{ids['failed']}/retry/").status_code == 405
    assert 'value="Retry"' in text(keeper, f"{TASKS}{ids['failed']}/change/")
    said = retry(keeper, ids["failed"], ids["waiting"])
    assert "1 moved." in said
    assert "Cannot retry" in said
    run_task(site, ids["failed"])
    assert site.get_task(ids["failed"]).attempt == 2
    keeper.post(f"{TASKS}{ids['failed']}/retry/")
    assert site.get_task(ids["failed"]).status in {TaskStatus.CREATED, TaskStatus.QUEUED}
    assert "1 moved." in act(keeper, TASKS, "cancel_tasks", ids["waiting"])
    assert site.get_task(ids["waiting"]).status is TaskStatus.CANCELED


def test_a_retry_of_several_asks_first_and_runs_only_what_ended_badly(site: TaskDB) -> None:
    ids = some_tasks(site)
    keeper = person("keeper", "view_task", "retry_task")
    chosen = [ids["failed"], ids["done"]]
    asked = act(keeper, TASKS, "retry_tasks", *chosen)
    assert [
        re.search(f">{status}</span></td><td>(.*?)</td>", asked)[1]
        for status in ("COMPLETED", "FAILED")
    ] == ["1", "1"]  # type: ignore[index]
    assert [site.get_task(one).attempt for one in chosen] == [1, 1]
    assert site.get_task(ids["failed"]).status is TaskStatus.FAILED
    said = retry(keeper, *chosen)
    assert "1 moved." in said
    assert "1 left alone: COMPLETED" in said
    assert site.get_task(ids["done"]).status is TaskStatus.COMPLETED
    assert site.get_task(ids["failed"]).status in {TaskStatus.CREATED, TaskStatus.QUEUED}
    assert "1 moved." in retry(keeper, ids["done"], force="yes")
    assert site.get_task(ids["done"]).status in {TaskStatus.CREATED, TaskStatus.QUEUED}
    reader = person("reader", "view_task")
    reader.post(TASKS, {"action": "retry_tasks", "_selected_action": chosen, "post": "yes"})
    assert [event.to_status for event in site.task_history(ids["done"])].count("CREATED") == 2


def test_a_person_sees_the_tenants_that_the_settings_name(site: TaskDB, tmp_path: Path) -> None:
    ids = some_tasks(site)
    keeper = person("keeper", "view_task", "retry_task")
    path = f"{only_acme.__module__}.{only_acme.__name__}"
    with project.taskdb_settings(tmp_path, ADMIN_TENANTS=path):
        listed = text(keeper, TASKS, place="all")
        assert ids["failed"] in listed
        assert ids["done"] not in listed
        assert GONE in text(keeper, f"{TASKS}{ids['done']}/change/")
        assert f"{TASKS}{ids['done']}/" not in text(keeper, TASKS, q=ids["done"])
        keeper.post(f"{TASKS}{ids['done']}/retry/")
        assert site.get_task(ids["done"]).status is TaskStatus.COMPLETED
        assert ids["done"] in text(person("root", "view_task"), TASKS)
        default_taskdb().close()


def test_a_text_is_no_list_of_tenants(site: TaskDB, tmp_path: Path) -> None:
    site.submit_task("orders.pack", {"order": 1}, tenant="a")
    keeper = person("keeper", "view_task")
    path = f"{spelled_acme.__module__}.{spelled_acme.__name__}"
    with project.taskdb_settings(tmp_path, ADMIN_TENANTS=path):
        with pytest.raises(SettingsError, match="a list of tenants"):
            keeper.get(TASKS)
        default_taskdb().close()


def test_schedules_are_paused_resumed_and_run(site: TaskDB) -> None:
    nightly = site.schedules.create("nightly", "orders.pack", {"order": 1}, cron="30 2 * * *")
    site.schedules.create("often", "orders.pack", every=60)
    keeper = person("keeper", "view_schedule", "pause_schedule", "run_schedule", "view_task")
    reader = person("reader", "view_schedule")
    page = text(reader, SCHEDULES)
    assert "30 2 * * *" in page
    assert "every 1m" in page
    act(reader, SCHEDULES, "pause_schedules", nightly.id)
    assert site.schedules.get("nightly").is_enabled
    act(keeper, SCHEDULES, "pause_schedules", nightly.id)
    assert not site.schedules.get("nightly").is_enabled
    act(keeper, SCHEDULES, "resume_schedules", nightly.id)
    assert site.schedules.get("nightly").is_enabled
    assert "1 moved." in act(keeper, SCHEDULES, "run_schedules", nightly.id)
    (made,) = site.list_tasks(type="orders.pack")
    assert made.input == {"order": 1}
    assert f"{TASKS}{made.id}/change/" in text(keeper, SCHEDULES)


def test_what_a_person_does_is_in_the_history_and_in_djangos_log(site: TaskDB) -> None:
    ids = some_tasks(site)
    site.schedules.create("nightly", "orders.pack", cron="0 3 * * *")
    rights = ("view_task", "retry_task", "cancel_task", "view_schedule", "pause_schedule")
    ann = person("ann", *rights)
    retry(ann, ids["failed"])
    act(ann, TASKS, "cancel_tasks", ids["failed"])
    act(ann, SCHEDULES, "pause_schedules", site.schedules.get("nightly").id)
    told = [dict(one.detail) for one in site.task_history(ids["failed"])]
    assert {"reason": "retried by hand", "by": "ann"} in told
    assert {"reason": "canceled by hand", "by": "ann"} in told
    entries = LogEntry.objects.order_by("action_time", "id")
    assert [(one.user.username, one.change_message) for one in entries] == [
        ("ann", "Retried."),
        ("ann", "Canceled."),
        ("ann", "Paused."),
    ]
    assert entries[0].object_id == ids["failed"]
    assert "canceled by hand (by ann)" in " ".join(text(ann, f"{TASKS}{ids['failed']}/").split())


def test_a_move_that_is_refused_leaves_no_entry(site: TaskDB) -> None:
    ids = some_tasks(site)
    ann = person("ann", "view_task", "cancel_task")
    assert "Cannot cancel" in act(ann, TASKS, "cancel_tasks", ids["done"])
    assert LogEntry.objects.count() == 0


def test_no_migration_of_djangos_touches_our_tables(site: TaskDB, capsys: Any) -> None:
    call_command("makemigrations", check_changes=True, dry_run=True)
    assert "No changes" in capsys.readouterr().out


def test_moments_are_local_without_time_zones(site: TaskDB) -> None:
    zone = {"USE_TZ": False, "TIME_ZONE": "Asia/Tokyo"}
    entity = site.submit_task("orders.pack", run_at=datetime(2200, 1, 1, 20, 30, tzinfo=UTC))
    reader = person("reader", "view_task")
    with override_settings(**zone):
        assert Task.objects.get(pk=entity.id).run_at == datetime(2200, 1, 2, 5, 30)  # noqa: DTZ001 - as Django's own
        assert "2200-01-02 05:30:00" in text(reader, f"{TASKS}{entity.id}/change/")
    assert "2200-01-01" in text(reader, f"{TASKS}{entity.id}/change/")


def test_the_list_shows_errors_and_sorts_and_searches_the_newest_tasks_only(
    site: TaskDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = some_tasks(site)
    reader = person("reader", "view_task")
    assert "ValueError: <b>no stock</b>" in text(reader, TASKS)
    assert "?o=2" not in text(reader, TASKS)
    monkeypatch.setattr(admin, "SEARCHED", 2)
    assert ids["waiting"] in text(reader, TASKS, q="orders.pack")
    assert ids["done"] not in text(reader, TASKS, q="order 7")
    assert ids["done"] in text(reader, TASKS, q=ids["done"])
