"""Views: the transaction of a request, its coroutines, and who it says has submitted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings

from taskdb import TaskDB, submit_task, submit_task_async
from taskdb.client.default import default_taskdb
from taskdb.contrib.django.middleware import record_submitter
from tests.django_site import project
from tests.django_site.orders.models import Order
from tests.integration.submit_site import count, until_queued


class Person:
    """A user as the authentication of a project has one."""

    is_authenticated = True

    def get_username(self) -> str:
        return "ada"


@pytest.fixture
def site(store_url: str, tmp_path: Path, at_home: None) -> Iterator[TaskDB]:
    """A project whose requests are transactions."""
    database = {**project.django_database(store_url), "ATOMIC_REQUESTS": True}
    with (
        project.taskdb_settings(tmp_path),
        override_settings(
            ROOT_URLCONF="tests.django_site.urls",
            ALLOWED_HOSTS=["testserver"],
            MIDDLEWARE=["taskdb.contrib.django.middleware.record_submitter"],
        ),
        project.databases(default=database),
    ):
        project.create_orders()
        yield default_taskdb()
        default_taskdb().close()
        connections.close_all()


def test_a_request_that_fails_leaves_no_row_and_one_that_answers_leaves_both(
    site: TaskDB,
) -> None:
    client = Client(raise_request_exception=False)
    assert client.get("/order/?fail").status_code == 500
    assert (count(site), Order.objects.count()) == (0, 0)
    answer = client.get("/order/", REMOTE_ADDR="192.0.2.1").json()
    assert answer["status"] == "CREATED"
    until_queued(site, answer["id"])
    found = site.get_task(answer["id"])
    assert (found.created_by, found.created_ip) == (None, "192.0.2.1")
    assert found.request_id
    assert Order.objects.count() == 1


def test_coroutines_submit_and_their_transactions_are_joined(site: TaskDB) -> None:
    # Django refuses ATOMIC_REQUESTS for coroutines.
    connections["default"].settings_dict["ATOMIC_REQUESTS"] = False

    @async_to_sync
    async def ask(path: str) -> Any:
        return await AsyncClient(raise_request_exception=False).get(path)

    answered = ask("/order-async/").json()
    until_queued(site, answered["id"])
    assert site.get_task(answered["id"]).created_ip == "127.0.0.1"
    assert ask("/order-in-thread/?fail").status_code == 500
    assert (count(site), Order.objects.count()) == (1, 1)
    threaded = ask("/order-in-thread/").json()
    until_queued(site, threaded["id"])
    assert (count(site), Order.objects.count()) == (2, 2)


# --- who submits ----------------------------------------------------------------------------------


def recorded(taskdb: TaskDB, request: HttpRequest) -> dict[str, Any]:
    """What a task that this request submits is recorded with."""
    ids: list[str] = []

    def view(_: HttpRequest) -> HttpResponse:
        ids.append(submit_task("orders.pack").id)
        return HttpResponse()

    record_submitter(view)(request)
    found = taskdb.get_task(ids[0])
    return {"by": found.created_by, "ip": found.created_ip, "id": found.request_id}


def request(user: Any = None, **headers: str) -> HttpRequest:
    made = RequestFactory().get("/", **headers)
    made.user = user or AnonymousUser()
    return made


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_the_user_the_id_and_the_address_of_the_request_are_recorded(
    taskdb: TaskDB, tmp_path: Path
) -> None:
    found = recorded(taskdb, request(Person(), HTTP_X_REQUEST_ID="r-1", REMOTE_ADDR="2001:db8::1"))
    assert found == {"by": "ada", "ip": "2001:db8::1", "id": "r-1"}

    found = recorded(taskdb, request(HTTP_X_REQUEST_ID="x" * 201, REMOTE_ADDR=""))
    assert (found["by"], found["ip"], len(found["id"])) == (None, None, 32)

    bare = RequestFactory().get("/")
    bare.correlation_id = "c-1"
    assert recorded(taskdb, bare) == {"by": None, "ip": "127.0.0.1", "id": "c-1"}


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_forwarded_address_counts_as_far_as_trusted_proxies_wrote_it(
    taskdb: TaskDB, tmp_path: Path
) -> None:
    forged = {"HTTP_X_FORWARDED_FOR": "203.0.113.9, 198.51.100.7:4711", "REMOTE_ADDR": "10.0.0.1"}
    assert recorded(taskdb, request(**forged))["ip"] == "10.0.0.1"
    expected = {
        "10.0.0.0/8": "198.51.100.7",
        "10.0.0.0/8, 198.51.100.0/24": "203.0.113.9",
        "192.0.2.0/24": "10.0.0.1",
    }
    for proxies, address in expected.items():
        with project.taskdb_settings(tmp_path, TRUSTED_PROXIES=proxies):
            assert recorded(default_taskdb(), request(**forged))["ip"] == address
    with project.taskdb_settings(tmp_path, TRUSTED_PROXIES="10.0.0.0/8"):
        nonsense = {**forged, "HTTP_X_FORWARDED_FOR": "<script>"}
        assert recorded(default_taskdb(), request(**nonsense))["ip"] == "10.0.0.1"


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_the_id_of_another_middleware_is_checked_as_well(taskdb: TaskDB) -> None:
    forged = request()
    forged.id = "a\nb"
    assert len(recorded(taskdb, forged)["id"]) == 32


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_coroutine_records_its_own_request(taskdb: TaskDB) -> None:
    ids: list[str] = []

    async def view(_: HttpRequest) -> HttpResponse:
        ids.append((await submit_task_async("orders.pack")).id)
        return HttpResponse()

    async def ask() -> None:
        await record_submitter(view)(request(Person(), REMOTE_ADDR="192.0.2.7"))

    async_to_sync(ask)()
    found = taskdb.get_task(ids[0])
    assert (found.created_by, found.created_ip) == ("ada", "192.0.2.7")
