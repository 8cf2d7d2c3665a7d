"""The Django shop of the examples in containers, as the guide says; tests go on in this order."""

import json
import re
import shlex
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from tests.compose.site import ROOT, Site, docker, inspected
from tests.waiting import wait_until

GUIDE = (ROOT / "docs/how-to/deploy-with-compose.md").read_text()
WORKERS = 2


@pytest.fixture(scope="module")
def site(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    own = f"{image}-shop"
    site = Site(tmp_path_factory.mktemp("shop"), image, SHOP_IMAGE=own)
    try:
        yield site
    finally:
        site.close()
        docker("image", "rm", "--force", own)


def consoles() -> list[str]:
    """What the guide says under its heading: how the shop starts, and what is done with it."""
    said = GUIDE.partition("## A Django project\n")[2].partition("\n## ")[0]
    return re.findall(r"```console\n(.*?)```", said, re.DOTALL)


def follow(site: Site, commands: str) -> str:
    """Run commands of the guide, with the port of this site; what they wrote."""
    return site.shell(commands.replace(":8000/", f":{site.values['SHOP_PORT']}/"))


def shop(site: Site, path: str, **form: str) -> tuple[int, str]:
    """What the web server answers to this machine."""
    url = f"http://127.0.0.1:{site.values['SHOP_PORT']}{path}"
    words = "&".join(f"{name}={value}" for name, value in form.items()).encode()
    try:
        with urlopen(url, data=words or None, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_the_shop_and_its_workers_are_healthy_beside_the_rest(site: Site) -> None:
    start, _ = consoles()
    assert f"--scale worker={WORKERS}" in start
    follow(site, start)
    site.wait_until_healthy(timeout=120)

    states = {
        name: sorted(site.states(name).values()) for name in ("migrate", "web", "worker", "beat")
    }
    assert states == {
        "migrate": ["exited (0)"],
        "web": ["healthy"],
        "worker": ["healthy"] * WORKERS,
        "beat": ["healthy"] * 2,
    }
    (migrate,) = site.states("migrate")
    written = docker("logs", migrate)
    assert "Applying orders.0001_initial... OK" in written
    assert "TaskDB: tables at revision" in written


def test_nothing_of_the_shop_is_root_or_reached_from_elsewhere(site: Site) -> None:
    for container in inspected(site.containers("web") + site.containers("worker")):
        assert container["Config"]["Image"] == site.values["SHOP_IMAGE"]
        assert container["Config"]["User"] == "10001:10001"
        assert container["HostConfig"]["ReadonlyRootfs"] is True
        assert container["HostConfig"]["CapDrop"] == ["ALL"]
        published = container["NetworkSettings"]["Ports"] or {}
        addresses = {one["HostIp"] for ports in published.values() for one in ports or ()}
        assert addresses <= {"127.0.0.1"}
    written = site.compose("exec", "-T", "web", "sh", "-c", "find /shop -writable")
    assert written == ""


def test_an_order_from_the_host_is_confirmed_by_a_worker_that_flower_shows(site: Site) -> None:
    _, use = consoles()
    said = {}
    for line in use.splitlines():
        if line.endswith("/orders/1/"):
            wait_until(lambda line=line: "2 x tea" in follow(site, line), timeout=60)
        said[shlex.split(line)[-1]] = follow(site, line)
    loaded, placed, shown, listed = said.values()

    assert "Installed 1 object" in loaded
    assert json.loads(shown) == {"customer": "Ada", "confirmation": "2 x tea for Ada"}
    order = json.loads(placed)
    site.wait_until_completed([order["task"]], timeout=60)
    (row,) = site.query(
        "SELECT id::text, worker, attempt FROM taskdb_task WHERE type = 'orders.confirm'"
    )
    assert (row["id"], row["attempt"]) == (order["task"], 1)
    hosts = {f"celery@{site.host_of(name)}" for name in site.containers("worker")}
    worker = row["worker"].split("/")[0]
    assert worker in hosts
    flower = wait_until(
        lambda: site.flower("/api/tasks").get(order["task"]), describe="Flower to show the task"
    )
    assert (flower["name"], flower["state"], flower["worker"]) == (
        "orders.confirm", "SUCCESS", worker,
    )  # fmt: skip
    assert "orders.confirm" in listed


def test_an_order_that_is_refused_leaves_no_task(site: Site) -> None:
    status, answer = shop(site, "/orders/", customer="Grace", product="tea", quantity="2")

    assert (status, json.loads(answer)) == (409, {"error": "sold out"})
    (kept,) = site.query("SELECT count(*) AS n FROM taskdb_task WHERE type = 'orders.confirm'")
    assert kept["n"] == 1


def test_the_admin_has_its_pages_and_their_style(site: Site) -> None:
    status, page = shop(site, "/admin/login/")
    assert status == 200
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page)
    assert sheets
    assert [shop(site, sheet)[0] for sheet in sheets] == [200] * len(sheets)


def test_an_order_is_taken_while_the_broker_is_away_and_confirmed_later(site: Site) -> None:
    (broker,) = site.containers("redis")
    site.kill(broker)
    status, answer = shop(site, "/orders/", customer="Grace", product="tea", quantity="1")
    assert status == 201
    order = json.loads(answer)
    assert site.statuses([order["task"]]) == {"CREATED": 1}

    site.up(WORKERS)
    site.wait_until_completed([order["task"]], timeout=120)
    confirmed = {"customer": "Grace", "confirmation": "1 x tea for Grace"}
    assert json.loads(shop(site, f"/orders/{order['order']}/")[1]) == confirmed


def test_the_schedule_of_the_shop_is_known_and_counts_the_stock(site: Site) -> None:
    site.compose("exec", "-T", "web", "taskdb", "schedule", "run-now", "orders.count_stock")

    def counted() -> list[dict[str, int]]:
        rows = site.query(
            "SELECT result FROM taskdb_task WHERE type = 'orders.count_stock'"
            " AND status = 'COMPLETED'"
        )
        return [row["result"] for row in rows]

    assert wait_until(counted, timeout=60) == [{"sold": 3, "left": 0}]


def test_the_placeholder_of_a_secret_is_refused_for_the_shop_as_well(site: Site) -> None:
    site.change(SHOP_SECRET_KEY="replace-me")

    with pytest.raises(AssertionError, match="SHOP_SECRET_KEY: is still the placeholder"):
        site.compose("run", "--rm", "prepare")
