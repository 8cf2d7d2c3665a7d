"""Subscriptions through the client: what is refused, and whose they are."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each
from tests.integration.notify_site import site

from taskdb import InvalidInput, TaskDB
from taskdb.errors import SubscriptionNotFound, TargetRefused

URL = "https://93.184.215.14/hook"
ARN = "arn:aws:sns:eu-central-1:123456789012:topic"


@pytest.fixture
def taskdb(sqlite_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with site(sqlite_url, tmp_path, redis_channel_url="redis://127.0.0.1:1/0") as taskdb:
        yield taskdb


def test_a_client_of_some_tenants_makes_and_sees_only_theirs(taskdb: TaskDB) -> None:
    acme, both = taskdb.for_tenant("acme"), taskdb.for_tenant("acme", "other")
    mine = acme.subscriptions.create("hook", "webhook", URL).subscription
    assert (mine.tenant, mine.is_for_all) == ("acme", False)
    theirs = both.subscriptions.create("hook", "redis", tenant="other").subscription
    assert theirs.target == "taskdb"
    whole = taskdb.subscriptions.create("all", "sns", ARN).subscription
    assert whole.is_for_all
    assert [one.id for one in acme.subscriptions.list()] == [mine.id]
    assert [one.id for one in both.subscriptions.list()] == [mine.id, theirs.id]
    assert len(taskdb.subscriptions.list()) == 3
    assert [one.id for one in taskdb.subscriptions.list(tenant="acme")] == [mine.id]
    for one in (theirs, whole):
        for act in (
            acme.subscriptions.get,
            acme.subscriptions.pause,
            acme.subscriptions.resume,
            acme.subscriptions.remove,
            acme.subscriptions.test,
            acme.subscriptions.rotate_secret,
            lambda i: acme.subscriptions.replay(i, "beginning"),
        ):
            with pytest.raises(SubscriptionNotFound):
                act(one.id)
    for wrong in (
        {"tenant": "third"},
        {},
        {"tenant": "acme", "transport": "sns", "target": ARN},
        {"tenant": "acme", "transport": "log", "target": ""},
    ):
        with pytest.raises(InvalidInput):
            both.subscriptions.create(
                **{"name": "x", "transport": "webhook", "target": URL, **wrong}
            )
    assert len(taskdb.subscriptions.list()) == 3


@each(
    "options, path",
    [
        ({"name": ""}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"name": "a" * 300}, "name"),
        ({"name": 7}, "name"),
        ({"transport": "mail"}, "transport"),
        ({"type": ""}, "type"),
        ({"type": "*x"}, "type"),
        ({"kind": "TREE"}, "kind"),
        ({"status": ["COMPLETED", "DONE"]}, "status"),
        ({"status": 7}, "status"),
        ({"start": "soon"}, "start"),
        ({"start": datetime(2026, 1, 1)}, "start"),  # noqa: DTZ001 - that is the point
        ({"secret": "hunter2"}, "secret"),
        ({"transport": "redis", "target": "", "secret": "x"}, "secret"),
        ({"tenant": "\ud800"}, "tenant"),
    ],
)
def test_every_fault_of_a_subscription_is_named(
    taskdb: TaskDB, options: dict[str, Any], path: str
) -> None:
    given = {"name": "hook", "transport": "webhook", "target": URL, **options}
    with pytest.raises(InvalidInput) as refused:
        taskdb.subscriptions.create(**given)
    assert [fault.path for fault in refused.value.faults] == [path]
    assert "hunter2" not in str(refused.value)
    assert taskdb.subscriptions.list() == []


def test_a_secret_is_told_once_and_stands_in_no_repr(taskdb: TaskDB) -> None:
    made = taskdb.subscriptions.create(
        "hook", "webhook", URL, status="failed", start=datetime.now(UTC)
    )
    assert made.secret is not None and made.secret.startswith("whsec_")
    assert made.secret not in repr(made) + repr(taskdb.subscriptions.get("hook"))
    assert made.subscription.filter.statuses == ("FAILED",)
    with pytest.raises(InvalidInput, match="365 days"):
        taskdb.subscriptions.rotate_secret("hook", overlap=timedelta(days=400))
    taskdb.subscriptions.create("channel", "redis")
    with pytest.raises(InvalidInput, match="signs nothing"):
        taskdb.subscriptions.rotate_secret("channel")


def test_a_target_of_the_inside_is_refused_before_anything_is_written(taskdb: TaskDB) -> None:
    for url in (
        "https://169.254.169.254/latest",
        "https://168.63.129.16/metadata",
        "https://192.0.0.192/",
        "https://[::1]/",
        "https://[fec0::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://10.0.0.1:8443/",
        "http://10.0.0.1/",
        "https://x y",
    ):
        for client in (taskdb, taskdb.for_tenant("acme")):
            with pytest.raises(TargetRefused):
                client.subscriptions.create("hook", "webhook", url)
    assert taskdb.subscriptions.list() == []


def test_a_name_of_the_inside_is_refused_without_its_address(
    sqlite_url: str, tmp_path: Path
) -> None:
    given = {"outbound_private": (), "outbound_http": False, "outbound_ports": "443"}
    with site(sqlite_url, tmp_path, **given) as taskdb:
        with pytest.raises(TargetRefused, match="localhost is not on the public") as refused:
            taskdb.for_tenant("acme").subscriptions.create("hook", "webhook", "https://localhost/")
        assert "127.0.0.1" not in str(refused.value)
        assert "::1" not in str(refused.value)
        assert taskdb.subscriptions.list() == []
