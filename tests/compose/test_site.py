"""A site of docker-compose does what is promised. The tests go on one site, in this order."""

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import NoPermissionError
from sqlalchemy.exc import OperationalError, ProgrammingError
from tests.compose.site import ROOT, Site, docker
from tests.waiting import wait_until

SECRET = "a word that only the row may show"
WORKERS = 3


def test_nothing_starts_with_the_placeholders_of_the_example(site: Site) -> None:
    file = site.folder / ".env"
    filled = file.read_text()
    example = (site.folder / ".env.example").read_text()
    file.write_text(f"{example}TASKDB_IMAGE={site.values['TASKDB_IMAGE']}\n")
    try:
        with pytest.raises(AssertionError, match=r"exited with code 2|didn't complete"):
            site.up(WORKERS)
        assert list(site.states().values()) == ["exited (2)"]
        assert "still the placeholder" in site.compose("logs", "prepare")
    finally:
        file.write_text(filled)


def test_a_fresh_clone_is_healthy_within_two_minutes(site: Site) -> None:
    began = time.monotonic()
    site.up(WORKERS)
    site.wait_until_healthy(timeout=120 - (time.monotonic() - began))
    took = time.monotonic() - began

    print(f"healthy after {took:.0f} s")
    counts = {
        name: len(site.states(name))
        for name in (
            "prepare",
            "postgres",
            "redis",
            "roles",
            "migrate",
            "worker",
            "beat",
            "flower",
        )
    }
    assert counts == {
        "prepare": 1, "postgres": 1, "redis": 1, "roles": 1, "migrate": 1,
        "worker": WORKERS, "beat": 2, "flower": 1,
    }  # fmt: skip


def test_redis_can_read_its_users_as_whoever_its_image_runs_it(site: Site) -> None:
    volume = f"{site.project}_broker-user:/users:ro"
    read = ["run", "--rm", "--user", "999:1000", "--entrypoint=", "--volume", volume]
    written = docker(*read, "redis:7-alpine", "cat", "/users/users.acl")

    assert "user taskdb on #" in written
    assert "user flower on #" in written
    for name in ("BROKER_PASSWORD", "FLOWER_BROKER_PASSWORD"):
        assert site.values[name] not in written


def test_each_role_of_the_database_may_do_its_work_and_no_more(site: Site) -> None:
    runtime = site.url_of("taskdb", "DATABASE_PASSWORD")
    reader = site.url_of("taskdb_reader", "DATABASE_READER_PASSWORD")
    roles = {row["rolname"]: row["rolsuper"] for row in site.query(
        "SELECT rolname, rolsuper FROM pg_roles WHERE rolname !~ '^pg_'"
    )}  # fmt: skip
    assert roles == {
        "postgres": True,
        "taskdb_owner": False,
        "taskdb": False,
        "taskdb_reader": False,
    }
    (owner,) = site.query("SELECT tableowner FROM pg_tables WHERE tablename = 'taskdb_task'")
    assert owner["tableowner"] == "taskdb_owner"
    connected = site.query("SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'taskdb'")
    assert [row["usename"] for row in connected] == ["taskdb"]

    for url in (runtime, reader):
        for sql in ("CREATE TABLE mine (id INT)", "DROP TABLE taskdb_slot", "TRUNCATE taskdb_task"):
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
                site.query(sql, url)
    for role, variable in (
        ("taskdb", "DATABASE_PASSWORD"), ("taskdb_reader", "DATABASE_READER_PASSWORD"),
    ):  # fmt: skip
        for database in ("postgres", "template1"):
            with pytest.raises(OperationalError, match="permission denied"):
                site.query("SELECT 1", site.url_of(role, variable, database))
    assert site.query("SELECT count(*) AS n FROM taskdb_task", reader)
    with pytest.raises(ProgrammingError, match="permission denied"):
        site.query("SELECT secret FROM taskdb_subscription", reader)
    # What runs again changes nothing.
    assert "the roles are there" in site.compose("run", "--rm", "roles")


def test_what_users_reach_does_not_reach_the_database_or_the_broker(site: Site) -> None:
    edge = docker("network", "inspect", f"{site.project}_edge", "--format", "{{json .Containers}}")
    names = {one["Name"] for one in json.loads(edge).values()}
    assert names >= {*site.containers("flower"), *site.containers("beat")}
    inner = {*site.containers("postgres"), *site.containers("redis"), *site.containers("worker")}
    assert not names & inner


def test_the_users_of_the_broker_are_two_and_flowers_cannot_publish(site: Site) -> None:
    its = site.values
    url = f"redis://flower:{its['FLOWER_BROKER_PASSWORD']}@127.0.0.1:{its['REDIS_PORT']}/0"
    with redis.Redis.from_url(url) as flower:
        assert flower.ping()
        for words in (
            ("LPUSH", "taskdb", "x"),
            ("PUBLISH", "/0.celery.pidbox", "x"),
            ("KEYS", "*"),
        ):
            with pytest.raises(NoPermissionError):
                flower.execute_command(*words)
    with redis.Redis(port=int(its["REDIS_PORT"])) as nobody, pytest.raises(redis.RedisError):
        nobody.ping()


def test_a_task_of_the_host_completes_and_flower_shows_it_with_its_worker(site: Site) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "taskdb.cli", "create-task", "greeting",
            "--message", "hello", "--wait", "--json",
        ],
        cwd=site.folder / "examples",
        env={**os.environ, **site.host_variables(), "TASKDB_TASK_MODULES": "tasks.greeting"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    (row,) = site.query("SELECT id::text, status, worker FROM taskdb_task WHERE type = 'greeting'")
    assert row["status"] == "COMPLETED"
    shown = wait_until(
        lambda: site.flower("/api/tasks").get(row["id"]), describe="Flower to show the task"
    )
    assert shown["state"] == "SUCCESS"
    assert shown["worker"] == row["worker"].split("/")[0]


def test_flower_shows_neither_input_nor_result_and_logs_do_not_either(site: Site) -> None:
    task = site.client().submit_task("compose.keep", {"secret": SECRET})
    assert task.wait(timeout=60).result == SECRET

    shown = wait_until(lambda: site.flower("/api/tasks").get(task.id))
    assert shown["name"] == "compose.keep"
    assert SECRET not in str(site.flower("/api/tasks"))
    assert SECRET not in str(site.flower(f"/api/task/info/{task.id}"))
    assert SECRET not in site.compose("logs", "worker", "beat", "flower")


def test_flower_wants_its_password_and_changes_nothing(site: Site) -> None:
    port = site.values["FLOWER_PORT"]
    for path in ("/", "/tasks", "/api/tasks", "/api/workers"):
        with pytest.raises(HTTPError) as refused:
            urlopen(f"http://127.0.0.1:{port}{path}", timeout=30)
        refused.value.close()
        assert refused.value.code == 401

    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"]
    user = f"admin:{site.values['FLOWER_PASSWORD']}"
    for path in ("/api/worker/shutdown/celery@x", "/api/task/revoke/x", "/api/task/apply/x"):
        asked = subprocess.run(
            [*words, "--config", "-", f"http://127.0.0.1:{port}{path}"],
            input=f'user = "{user}"',
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert asked.stdout == "403", path


def test_the_fan_out_example_runs_over_all_workers(site: Site) -> None:
    environment = {**os.environ, **site.host_variables()}
    done = subprocess.run(
        [
            sys.executable, "-m", "taskdb.cli", "create-task", "customers.import_file",
            "--path", "/app/customers.csv", "--rows-a-part", "20", "--wait", "--json",
        ],
        cwd=site.folder / "examples",
        env={**environment, "TASKDB_TASK_MODULES": "customer_import.tasks"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    parts = site.query(
        "SELECT split_part(worker, '/', 1) AS worker, count(*) AS n FROM taskdb_task"
        " WHERE role = 'part' AND status = 'COMPLETED' GROUP BY 1"
    )
    assert sum(row["n"] for row in parts) == 62
    hosts = {f"celery@{site.host_of(name)}" for name in site.containers("worker")}
    assert {row["worker"] for row in parts} == hosts
    (imported,) = site.query("SELECT count(*) AS n FROM customers.customer")
    assert imported["n"] == 1200


def test_the_figures_of_the_beats_agree_with_the_rows(site: Site) -> None:
    """Counted over all beats, since one of them reports and another may take its place."""
    before = figures(site)
    kept = site.client().submit_many("compose.keep", [{"secret": str(n)} for n in range(50)])
    failed = site.client().submit_many("compose.fail", [{}] * 3)
    site.wait_until_completed([task.id for task in kept])
    wait_until(lambda: site.statuses([task.id for task in failed]) == {"FAILED": 3}, timeout=60)

    told = {
        ("taskdb_tasks_created_total", "compose.keep", ""): 50,
        ("taskdb_task_moves_total", "compose.keep", "COMPLETED"): 50,
        ("taskdb_task_moves_total", "compose.fail", "FAILED"): 3,
        ("taskdb_task_run_seconds_count", "compose.keep", ""): 50,
    }

    def grown() -> dict[tuple[str, str, str], float]:
        now = figures(site)
        return {key: now.get(key, 0) - before.get(key, 0) for key in told}

    wait_until(lambda: grown() == told, timeout=60, describe=lambda: f"{told}, not {grown()}")
    now = figures(site)
    assert now["taskdb_workers", "", "live"] == WORKERS
    assert now["taskdb_reporter", "", ""] == 1
    over = "('COMPLETED', 'FAILED', 'CANCELED')"
    (rows,) = site.query(f"SELECT count(*) AS n FROM taskdb_task WHERE status NOT IN {over}")
    open_ones = sum(value for (name, _, _), value in now.items() if name == "taskdb_tasks")
    assert open_ones == rows["n"]


def test_prometheus_finds_every_beat_and_reads_the_alerts(site: Site) -> None:
    site.compose("--profile", "observability", "up", "--detach", "prometheus", "alertmanager")
    port = site.values["PROMETHEUS_PORT"]

    def asked(what: str) -> Any:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/{what}", timeout=30) as answer:
            return json.load(answer)["data"]

    def targets() -> list[str]:
        try:
            return [one["health"] for one in asked("targets")["activeTargets"]]
        except OSError:
            return []

    wait_until(lambda: targets() == ["up", "up"], timeout=90, describe=lambda: f"{targets()}")
    assert [group["name"] for group in asked("rules")["groups"]] == ["taskdb"]
    wait_until(
        lambda: asked("query?query=sum(taskdb_reporter)")["result"][0]["value"][1] == "1", 60
    )
    wait_until(
        lambda: (
            [one["url"] for one in asked("alertmanagers")["activeAlertmanagers"]]
            == ["http://alertmanager:9093/api/v2/alerts"]
        ),
        timeout=60,
    )
    told = f"http://127.0.0.1:{site.values['ALERTMANAGER_PORT']}/api/v2/receivers"

    def receivers() -> list[str]:
        try:
            with urlopen(told, timeout=30) as answer:
                return [one["name"] for one in json.load(answer)]
        except OSError:
            return []

    wait_until(lambda: receivers() == ["operators"], timeout=60)


def figures(site: Site) -> dict[tuple[str, str, str], float]:
    """The sum over all beats of each figure, by its name, type, and status or state."""
    url = "http://127.0.0.1:9808/metrics"
    ask = f"from urllib.request import urlopen; print(urlopen('{url}').read().decode())"
    found: dict[tuple[str, str, str], float] = defaultdict(float)
    for beat in site.containers("beat"):
        page = docker("exec", beat, "python", "-c", ask)
        for family in text_string_to_metric_families(page):
            for name, labels, value, *_ in family.samples:
                state = labels.get("status") or labels.get("state", "")
                found[name, labels.get("type", ""), state] += value
    return found


def test_killing_a_worker_the_broker_and_a_beat_in_turn_loses_nothing(site: Site) -> None:
    """Each dies with tasks in its hands, and comes back as an operator brings it back."""
    for service in ("worker", "redis", "beat"):
        tasks = site.client().submit_many("compose.nap", [{"number": n} for n in range(120)])
        ids = [task.id for task in tasks]
        later = site.client().submit_task("compose.nap", {"number": -1}, delay=3)
        site.wait_for_some(ids, 6)
        victim = site.containers(service)[0]
        site.kill(victim)
        if service == "redis":
            # For a while, so that workers and relays have seen that it is away.
            more = site.client().submit_task("compose.nap", {"number": -2})
            ids.append(more.id)
            site.up(WORKERS)
        site.wait_until_completed([*ids, later.id])
        rows = site.query(
            "SELECT result, attempt - spared AS runs, crashes FROM taskdb_task"
            " WHERE id::text = ANY(:ids)",
            ids=[task.id for task in tasks],
        )
        assert sorted(row["result"] for row in rows) == list(range(120))
        crashed = [row for row in rows if row["crashes"]]
        # What the dead worker had in its hands ran again, and nothing else did.
        assert len(crashed) <= (2 if service == "worker" else 0)
        assert all(row["runs"] == 1 for row in rows if not row["crashes"])
        site.up(WORKERS)
        site.wait_until_healthy(timeout=120)


@pytest.mark.parametrize(("pool", "processes"), [("prefork", 2), ("threads", 67)])
def test_stop_during_200_tasks_fails_none_and_the_next_up_finishes_them(
    site: Site, pool: str, processes: int
) -> None:
    """Six run in processes, or 200 at once in threads; none ends within the soft shutdown."""
    site.change(WORKER_POOL=pool, WORKER_CONCURRENCY=str(processes))
    site.up(WORKERS)
    site.wait_until_healthy(timeout=120)
    at_once = min(WORKERS * processes, 200)
    inputs = [{"number": n, "seconds": 90 if n < at_once else 0.05} for n in range(200)]
    ids = [task.id for task in site.client().submit_many("compose.nap", inputs)]
    wait_until(
        lambda: site.statuses(ids).get("STARTED", 0) == at_once,
        timeout=80,
        describe=lambda: f"{at_once} to run, not {site.statuses(ids)}",
    )

    began = time.monotonic()
    site.compose("stop", timeout=180)
    print(f"{pool}: stopped after {time.monotonic() - began:.0f} s")
    assert "exited (137)" not in site.states("worker").values(), "none had to be killed"

    site.compose("up", "--detach", "postgres")
    wait_until(lambda: "healthy" in site.states("postgres").values(), timeout=60)
    assert set(site.statuses(ids)) <= {"CREATED", "QUEUED", "COMPLETED"}
    (handed_back,) = site.query(
        "SELECT count(*) AS n FROM taskdb_task WHERE id::text = ANY(:ids) AND spared = 1", ids=ids
    )
    assert handed_back["n"] == at_once
    # Else the next run would take its time again.
    site.shorten(ids)
    site.change(WORKER_POOL="prefork", WORKER_CONCURRENCY="2")
    site.up(WORKERS)
    site.wait_until_completed(ids)
    (counted,) = site.query(
        "SELECT max(attempt - spared) AS runs, max(crashes) AS crashes FROM taskdb_task"
        " WHERE id::text = ANY(:ids)",
        ids=ids,
    )
    assert (counted["runs"], counted["crashes"]) == (1, 0)


# --- the image --------------------------------------------------------------------------------


def in_image(image: str, *words: str) -> str:
    return docker("run", "--rm", "--read-only", "--network=none", "--entrypoint=", image, *words)


def test_the_process_can_write_no_file_of_root(image: str) -> None:
    """Without --read-only, which would hide what the modes of the files allow."""
    looked = "find / -xdev '(' -type f -o -type d ')' -user root -writable ! -path /tmp 2>/dev/null"
    found = docker("run", "--rm", "--entrypoint=", image, "sh", "-c", f"{looked} || true")

    assert found == ""
    assert docker("run", "--rm", "--entrypoint=", image, "id", "-u").strip() == "10001"
    setuid = "find / -xdev -type f -perm /6000 2>/dev/null || true"
    assert in_image(image, "sh", "-c", setuid) == ""


def test_it_starts_on_a_read_only_root(image: str) -> None:
    started = docker("run", "--rm", "--read-only", "--network=none", image, "types", "--json")
    assert started == ""
    assert "worker" in docker("run", "--rm", "--read-only", "--network=none", image, "--help")


def test_there_is_no_compiler_and_no_cache_in_it(image: str) -> None:
    compilers = "command -v gcc cc c++ g++ make ld tcc clang || true"
    caches = "find / -xdev -path '*/.cache/*' 2>/dev/null || true"
    assert in_image(image, "sh", "-c", compilers) == ""
    assert in_image(image, "sh", "-c", caches) == ""
    assert in_image(image, "ls", "/opt/taskdb/bin").split().count("pip") == 0


def test_the_entry_hands_signals_on_and_leaves_no_zombies(image: str) -> None:
    """A child that its parent does not wait for is taken by process 1."""
    orphan = "import subprocess, sys; subprocess.Popen(['sleep', '0.2'])"
    body = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('told', flush=True), sys.exit(7)))\n"
        f"subprocess.run([sys.executable, '-c', {orphan!r}])\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    name = docker("run", "--detach", image, "python", "-c", body).strip()
    try:
        wait_until(lambda: "ready" in docker("logs", name), timeout=30)
        wait_until(lambda: "sleep" not in docker("top", name, "-eo", "pid,comm"), timeout=10)
        docker("stop", "--time", "20", name)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "7"
        assert "told" in docker("logs", name)
    finally:
        docker("rm", "--force", name)


def test_an_image_of_a_user_stands_on_it(image: str, examples: Path, tmp_path: Path) -> None:
    own = f"{image}-own"
    # As the compose file mounts a folder.
    run = ["run", "--rm", "--read-only", "--volume", f"{tmp_path}:/app:ro"]
    docker(
        "build", "--quiet", "--build-arg", f"TASKDB_IMAGE={image}",
        "--file", str(ROOT / "examples/containers/Dockerfile"), "--tag", own, str(examples),
    )  # fmt: skip
    try:
        assert '"greeting"' in docker(*run, own, "types", "--json")
        assert docker("run", "--rm", "--entrypoint=", own, "id", "-u").strip() == "10001"
    finally:
        docker("image", "rm", "--force", own)
