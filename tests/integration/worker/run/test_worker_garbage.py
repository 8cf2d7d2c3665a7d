"""What is no message of ours in a queue: the worker logs it, and goes on."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from tests.cases import each
from tests.integration.worker_site import Site, site_of
from tests.waiting import wait_until

DONE = "COMPLETED"


@pytest.fixture(scope="module", params=["redis", "embedded", "rabbitmq"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    settings: dict[str, Any] = {}
    if request.param == "rabbitmq":
        server = request.getfixturevalue("rabbitmq_server")
        settings["broker_url"] = server.create_vhost(f"garbage-{uuid4()}")
    kind = "embedded" if request.param in {"embedded", "rabbitmq"} else "postgresql+redis"
    with site_of(kind, request, tmp_path_factory, **settings) as site:
        site.start_worker("-c", "1", via="run_worker")
        yield site


def message(**changes: Any) -> dict[str, Any]:
    """A message as kombu writes it to Redis, of a task that has no row."""
    task_id = str(uuid4())
    body = base64.b64encode(json.dumps([[], {}, {}]).encode()).decode()
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"id": task_id, "task": "ends.returns", "lang": "py"},
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "taskdb"},
            "priority": 4,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
        **changes,
    }


def still_works(site: Site) -> None:
    worker = site.workers[0]
    task_id = site.submit("ends.returns", {"value": 1}).id
    wait_until(lambda: site.client.get_task(task_id).status == DONE, 10, worker.tail)
    assert worker.is_running


RAW: dict[str, str] = {
    "no JSON": "garbage",
    "nothing": "",
    "a list": "[1, 2]",
    "a number": "7",
    "null": "null",
    "text": '"x"',
    "an empty object": "{}",
    "half": '{"body": ',
    "deep": "[" * 5_000 + "]" * 5_000,
    "no properties": json.dumps({"body": "x", "headers": {}}),
    "properties of text": json.dumps(message(properties="x")),
    "no delivery info": json.dumps(message(properties={"delivery_tag": "x"})),
    "no tag": json.dumps(
        message(properties={"delivery_info": {"exchange": "", "routing_key": "t"}})
    ),
    "a tag of no text": json.dumps(
        message(
            properties={
                "delivery_tag": 7,
                "delivery_info": {"exchange": "", "routing_key": "t"},
                "body_encoding": "base64",
            }
        )
    ),
    "a body of no base64": json.dumps(message(body="***")),
    "a body of a number": json.dumps(message(body=7)),
    "no body": json.dumps({k: v for k, v in message().items() if k != "body"}),
    "headers of a list": json.dumps(message(headers=[1])),
    "headers of null": json.dumps(message(headers=None)),
    "headers of five megabytes": json.dumps(
        message(headers={"id": str(uuid4()), "task": "ends.returns", "own": "x" * 5_000_000})
    ),
    "a task of a number": json.dumps(message(headers={"id": 7, "task": 7})),
    "a foreign encoding": json.dumps(message(**{"content-encoding": "rot13"})),
    "a pickle": json.dumps(message(**{"content-type": "application/x-python-serialize"})),
    "no content type": json.dumps(message(**{"content-type": None})),
    "a content type of a number": json.dumps(message(**{"content-type": 7})),
    "bytes": "\udcff\udcfe",
}


# Elsewhere the broker itself lays out what is in a queue.
@pytest.mark.parametrize("site", ["redis"], indirect=True, scope="module")
@each("text", RAW.values(), ids=RAW.keys())
def test_a_worker_goes_on_behind_what_is_no_message(site: Site, text: str) -> None:
    with redis.Redis.from_url(site.settings.message_url) as server:
        # Behind another one, so that both ways of taking one meet it.
        for _ in range(2):
            server.lpush("taskdb", text.encode("utf-8", "surrogateescape"))
    still_works(site)
    still_works(site)


PUBLISHED: dict[str, dict[str, Any]] = {
    "a pickle": {"body": b"x", "content_type": "application/x-python-serialize"},
    "an unknown type": {"body": b"x", "content_type": "application/nothing"},
    "an unknown encoding": {
        "body": b"x",
        "content_type": "application/json",
        "content_encoding": "rot13",
    },
    "no JSON": {"body": b"{", "content_type": "application/json", "content_encoding": "utf-8"},
    "no text": {"body": b"\xff", "content_type": "application/json", "content_encoding": "utf-8"},
    "a number": {"body": b"7", "content_type": "application/json", "content_encoding": "utf-8"},
    "no headers": {"body": b"[[], {}, {}]", "content_type": "application/json", "headers": {}},
    "long headers": {
        "body": b"[[], {}, {}]",
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"id": "x", "task": "ends.returns", "own": "x" * 100_000},
    },
    "headers of numbers": {
        "body": b"[[], {}, {}]",
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"id": 7, "task": 7, "lang": 7},
    },
    "an unknown compression": {
        "body": b"x",
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"id": "x", "task": "ends.returns", "compression": "application/nothing"},
    },
    "a compression that is none": {
        "body": b"x",
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"id": "x", "task": "ends.returns", "compression": "application/x-gzip"},
    },
    "an ETA that is none": {
        "body": b"[[], {}, {}]",
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"id": "x", "task": "ends.returns", "eta": "soon", "expires": "later"},
    },
}


@each("given", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_a_worker_goes_on_behind_a_message_that_it_cannot_read(
    site: Site, given: dict[str, Any]
) -> None:
    with site.celery.connection_for_write() as connection:
        queue = site.celery.amqp.queues["taskdb"]
        producer = connection.Producer(auto_declare=False)
        kept = {"content_encoding": "utf-8", **given}
        for _ in range(2):
            producer.publish(routing_key="taskdb", declare=[queue], **kept)
    still_works(site)
    still_works(site)
