"""Flower has a user of the broker that hears events, and can publish, take and command nothing."""

import json
import os
import re
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
import redis
from tests.integration.worker_site import REPOSITORY, Site
from tests.servers import Redis
from tests.servers.server import HOST, free_port
from tests.waiting import wait_until

FLOWER = "f" * 20
APPLICATION = "a" * 20
_REFUSALS = r"NOPERM|no permissions|can't run this command|can't access|ACL failure"
NAMES = ("POSTGRES", "DATABASE_OWNER", "DATABASE", "DATABASE_READER", "FLOWER", "GRAFANA")
SECRETS = {f"{name}_PASSWORD": f"{n}" * 20 for n, name in enumerate(NAMES)}


@pytest.fixture
def users(own_redis: Redis, tmp_path: Path) -> Redis:
    """A Redis with the users that compose gives it."""
    given = {**SECRETS, "BROKER_PASSWORD": APPLICATION, "FLOWER_BROKER_PASSWORD": FLOWER}
    subprocess.run(
        ["sh", str(REPOSITORY / "deploy/compose/prepare"), str(tmp_path)],
        env={"PATH": os.environ["PATH"], **given},
        check=True,
        capture_output=True,
    )
    with redis.Redis(host=HOST, port=own_redis.port) as client:
        for line in (tmp_path / "users.acl").read_text().splitlines():
            _, name, *rules = line.split()
            if name != "default":
                client.execute_command("ACL", "SETUSER", name, *rules)
    return own_redis


def url_of(server: Redis, user: str) -> str:
    password = {"flower": FLOWER, "taskdb": APPLICATION}[user]
    return f"redis://{user}:{password}@{HOST}:{server.port}/0"


@pytest.fixture
def site(users: Redis, sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, database_url=sqlite_url, broker_url=url_of(users, "taskdb"))
    try:
        yield site
        site.close()
    finally:
        site.processes.close()
        site.client.close()


def test_flower_shows_tasks_and_workers_with_the_rights_it_has(
    site: Site, users: Redis, tmp_path: Path
) -> None:
    port = free_port()
    flower = site.processes.python(
        "-m", "celery", "--app", "taskdb_worker.app", "flower",
        env={
            "TASKDB_BROKER_URL": url_of(users, "flower"),
            "TASKDB_CELERY": '{"worker_enable_remote_control": false}',
            "TASKDB_DATA_DIR": str(tmp_path / "flower"),
            "FLOWER_ADDRESS": HOST,
            "FLOWER_PORT": str(port),
            "FLOWER_BASIC_AUTH": "admin:secret",
            "FLOWER_READ_ONLY": "true",
            "FLOWER_ENABLE_EVENTS": "false",
        },
        cwd=REPOSITORY,
    )  # fmt: skip
    worker = site.start_worker("-c", "1", "--task-events")

    def asked(path: str) -> Any:
        word = b64encode(b"admin:secret").decode()
        request = Request(f"http://{HOST}:{port}{path}", headers={"Authorization": f"Basic {word}"})
        with suppress(URLError), urlopen(request, timeout=10) as answer:  # noqa: S310 - of our own
            return json.load(answer) if path.startswith("/api") else answer.read().decode()
        return None

    wait_until(lambda: asked("/api/tasks") is not None, timeout=60)

    def shown() -> Any:
        """Events are heard from the moment at which Flower has bound its queue."""
        task = site.submit("ends.returns")
        site.settled(task.id)
        found = (asked("/api/tasks") or {}).get(task.id)
        return found and found["state"] == "SUCCESS"

    wait_until(shown, timeout=60, describe=lambda: flower.output[-2000:])
    assert worker.is_running
    assert "w" in asked("/workers") and "@site" in asked("/workers")
    assert asked("/healthcheck") == "OK"
    # It goes on hearing when it has looked for messages that were lost, which it may not.
    assert "Failed to capture events" not in flower.output


FORBIDDEN = [
    ("LPUSH", "taskdb", "a message"),
    ("RPUSH", "celery", "a message"),
    ("PUBLISH", "/0.celery.pidbox", "shutdown"),
    ("LRANGE", "taskdb", "0", "-1"),
    ("RPOP", "taskdb"),
    ("BRPOP", "taskdb", "1"),
    ("DEL", "taskdb"),
    ("HGETALL", "unacked"),
    ("ZADD", "unacked_index", "0", "tag"),
    ("SADD", "_kombu.binding.taskdb", "taskdb"),
    ("SADD", "_kombu.binding.celery.pidbox", "x"),
    ("EVAL", "return redis.call('LPUSH', 'taskdb', 'a message')", "0"),
    ("EVAL", "return redis.call('PUBLISH', '/0.celery.pidbox', 'x')", "0"),
    ("EVAL", "return redis.call('RENAME', 'celeryev.x', 'taskdb')", "0"),
    ("RENAME", "celeryev.x", "taskdb"),
    ("COPY", "celeryev.x", "taskdb"),
    ("LMOVE", "celeryev.x", "taskdb", "LEFT", "LEFT"),
    ("SORT", "celeryev.x", "STORE", "taskdb"),
    ("KEYS", "*"),
    ("SUBSCRIBE", "/0.celery.pidbox"),
    ("PSUBSCRIBE", "*"),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("FLUSHALL",),
    ("SCRIPT", "KILL"),
    ("SCRIPT", "FLUSH"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "LIST"),
    ("MONITOR",),
]


def test_its_user_can_publish_take_and_command_nothing(users: Redis) -> None:
    with (
        redis.Redis.from_url(url_of(users, "taskdb")) as application,
        redis.Redis.from_url(url_of(users, "flower")) as flower,
    ):
        application.lpush("taskdb", "a message")
        for words in FORBIDDEN:
            with pytest.raises(redis.ResponseError) as refused:
                flower.execute_command(*words)
            assert re.search(_REFUSALS, str(refused.value)), words
        assert application.lrange("taskdb", 0, -1) == [b"a message"]
