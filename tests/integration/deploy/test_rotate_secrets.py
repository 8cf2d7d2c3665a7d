"""The page about secrets does what it says: no secret is lost in between, and the old one ends."""

import json
import os
import re
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
from redis import Redis as Client
from redis.exceptions import AuthenticationError
from tests.integration.worker_site import REPOSITORY
from tests.servers import PostgreSQL, Redis
from tests.servers.server import HOST

from taskdb import TaskDB
from taskdb.settings.settings import Settings

pytestmark = pytest.mark.long

PAGE = (REPOSITORY / "docs/how-to/rotate-secrets.md").read_text()
BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(r"^ *```console\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
]


def block(word: str) -> str:
    (found,) = [one for one in BLOCKS if word in one]
    return found


def run(script: str, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=100,
        check=False,
        # Without a terminal programs ask for passwords at their input.
        start_new_session=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}"
    return done.stdout


def work(environment: Mapping[str, str]) -> None:
    """What a process does that has these settings: it writes."""
    ours = {name: value for name, value in environment.items() if name.startswith("TASKDB_")}
    with TaskDB(Settings.load(ours)) as taskdb:
        taskdb.limits.pause(queue="x")
        taskdb.limits.resume(queue="x")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    return {
        "SECRETS": str(secrets),
        "TASKDB_DATA_DIR": str(tmp_path / "data"),
        "PATH": f"{REPOSITORY / '.venv/bin'}:{os.environ['PATH']}",
    }


@pytest.mark.timeout(300)
def test_the_password_of_the_database_is_exchanged_without_an_outage(
    own_postgresql: PostgreSQL, environment: dict[str, str]
) -> None:
    server = own_postgresql
    environment |= {
        "PGHOST": HOST,
        "PGPORT": str(server.port),
        "PGUSER": "postgres",
        "PGDATABASE": "postgres",
        "PATH": f"{server._binaries}:{environment['PATH']}",
    }
    with server.unhindered("postgres") as admin:
        admin.execute("CREATE ROLE taskdb NOLOGIN")
        admin.execute("CREATE ROLE taskdb_owner LOGIN")
        admin.execute("CREATE ROLE taskdb_a LOGIN PASSWORD 'old-secret' IN ROLE taskdb")
        admin.execute("ALTER ROLE taskdb_a SET role = 'taskdb'")
        admin.execute("CREATE DATABASE shop OWNER taskdb_owner")
        trusted = "host all postgres,taskdb_owner 127.0.0.1/32 trust"
        others = "host all all 127.0.0.1/32 scram-sha-256"
        (server._data / "pg_hba.conf").write_text(f"{trusted}\n{others}\n")
        admin.execute("SELECT pg_reload_conf()")
    environment["PGDATABASE"] = "shop"
    old = {
        **environment,
        "TASKDB_DATABASE_URL": f"postgresql://taskdb_a:old-secret@{HOST}:{server.port}/shop",
    }
    owner = f"postgresql://taskdb_owner@{HOST}:{server.port}/shop"
    owning = {**environment, "TASKDB_DATABASE_URL": owner}
    run("taskdb migrate; taskdb grants --runtime taskdb --apply", owning)
    run(block("CREATE ROLE taskdb_b"), environment)
    run(block("\\password"), environment)
    run(block("database-url.new"), environment)

    file = Path(environment["SECRETS"], "database-url")
    assert file.stat().st_mode & 0o077 == 0
    new = {**environment, "TASKDB_DATABASE_URL_FILE": str(file)}
    # Both are good at the same time.
    for one in (old, new):
        work(one)
    with server.unhindered("shop") as admin:
        owners = admin.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname='public'"
        )
        assert owners.fetchall() == [("taskdb_owner",)]

    def connect() -> psycopg.Connection[tuple[object, ...]]:
        place = f"host={HOST} port={server.port} dbname=shop user=taskdb_a password=old-secret"
        return psycopg.connect(place, connect_timeout=5)

    standing = connect()
    run(block("NOLOGIN"), environment)
    with pytest.raises(psycopg.OperationalError, match="terminating"):
        standing.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        connect()
    work(new)
    secret = Path(environment["SECRETS"], "database-password").read_text().strip()
    assert secret not in server.log


def test_the_password_of_redis_is_exchanged_while_both_are_good(
    own_redis: Redis, environment: dict[str, str]
) -> None:
    place = {"host": HOST, "port": int(own_redis.url.rsplit(":", 1)[1].split("/")[0])}
    with Client(**place) as admin:
        admin.execute_command("ACL", "SETUSER", "taskdb", "on", ">old-secret", "~*", "&*", "+@all")
        redis_cli = f"redis-cli -h {HOST} -p {place['port']}"
        change = block("redis-cli ACL").replace("redis-cli", redis_cli)
        run(change, environment)
        new = Path(environment["SECRETS"], "broker-password").read_text().strip()
        for password in ("old-secret", new):
            with Client(**place, username="taskdb", password=password) as client:
                assert client.ping()
        hashed = "$(printf old-secret | sha256sum | cut -d ' ' -f 1)"
        run(f'{redis_cli} ACL SETUSER taskdb "!{hashed}"', environment)
    with Client(**place, username="taskdb", password=new) as client:
        assert client.ping()
    refused = Client(**place, username="taskdb", password="old-secret")
    with refused as client, pytest.raises(AuthenticationError):
        client.ping()


def test_the_secret_of_a_subscription_is_exchanged_and_a_channel_is_tried(
    environment: dict[str, str],
) -> None:
    channels = Path(environment["SECRETS"], "channels")
    channels.write_text(json.dumps({"pager": {"log": ""}}))
    environment |= {"TASKDB_ALARM_CHANNELS_FILE": str(channels)}
    made = run("taskdb subscription add billing webhook https://example.com/in", environment)
    said = run(block("rotate-secret"), environment)
    first, second = (re.findall(r"whsec_\S+", one)[0] for one in (made, said))
    assert first != second
    run(block("alarm test"), environment)


def test_a_new_key_of_messages_is_known_before_it_signs(environment: dict[str, str]) -> None:
    file = Path(environment["SECRETS"], "message-keys")
    file.write_text(f"{'old-key-' * 5}\n")
    run(block("message-keys.new"), environment)
    keys = Settings.load({"TASKDB_MESSAGE_KEYS_FILE": str(file)}).message_keys
    old, new = (one.get_secret_value() for one in keys)
    assert old == "old-key-" * 5
    assert new == Path(environment["SECRETS"], "message-key").read_text().strip()


def test_every_block_of_the_page_is_run_here() -> None:
    words = ("database-url.new", "CREATE ROLE", "\\password", "NOLOGIN", "redis-cli ACL")
    words = (*words, "rotate-secret", "alarm test", "message-keys.new")
    assert {one for one in BLOCKS if any(word in one for word in words)} == set(BLOCKS)
