"""The Django shop of the examples: every command of its page, with servers and processes."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.processes import Processes, RunningProcess
from tests.waiting import wait_until

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
SHOP = ROOT / "examples" / "django_shop"
PROCESSES = {"runserver": "Starting", "worker": "[queues]", "beat": "beat.started"}


def commands() -> list[str]:
    """The lines of the consoles on its page, in order."""
    blocks = re.findall(r"```console\n(.*?)```", (SHOP / "README.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


class Shop:
    """A copy of the shop, the environment of its terminals, and what runs in them."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self._processes = processes
        self.folder = folder / "shop"
        shutil.copytree(SHOP, self.folder, ignore=shutil.ignore_patterns(".taskdb", "*.sqlite3*"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environment: dict[str, str] = {}
        self._starting: list[tuple[RunningProcess, str]] = []
        self._is_served = False

    def start(self, words: list[str], sign: str) -> None:
        """A process that goes on; the next command waits until it says so."""
        self._starting.append(
            (self._processes(*words, env=self.environment, cwd=self.folder), sign)
        )
        self._is_served |= "runserver" in words

    def run(self, words: list[str]) -> str:
        """A command that ends well; what it wrote."""
        self._until_started()
        done = subprocess.run(
            words,
            env={**os.environ, **self.environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{words}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def words(self, line: str) -> list[str]:
        whole = re.sub(r"\b8000\b", str(self.port), line)
        first, *rest = shlex.split(whole)
        return [sys.executable if first == "python" else first, *rest]

    def _until_started(self) -> None:
        for started, sign in self._starting:
            started.wait_for_output(sign, 60)
        self._starting.clear()
        if self._is_served:
            wait_until(self._answers, 30)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_of_the_shop_is_true(
    empty_postgresql_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.fail("the page of the shop uses curl, which is not installed", pytrace=False)
    shop = Shop(tmp_path, processes)
    servers = {"SHOP_DATABASE": empty_postgresql_url, "SHOP_BROKER": redis_url}
    said: list[Any] = []
    for line in commands():
        words = shop.words(line)
        if words[0] == "pip":
            extras = set(re.findall(r"[\w-]+", re.findall(r"\[(.*)\]", line)[0]))
            assert extras <= set(
                re.findall(r"^([a-z]+) = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
            )
        elif words[0] == "export":
            name = words[1].partition("=")[0]
            shop.environment[name] = servers.pop(name)
        elif sign := next((sign for word, sign in PROCESSES.items() if word in words), None):
            shop.start(words, sign)
        else:
            if line.endswith("/orders/1/"):
                wait_until(lambda words=words: "2 x tea" in shop.run(words), 30)
            said.append(shop.run(words))
    assert servers == {}
    migrated, loaded, checked, placed, shown, listed, refused, left, counted = said
    assert "TaskDB: tables at revision" in migrated
    assert "Installed 1 object" in loaded
    assert "no issues" in checked
    order = json.loads(placed)
    assert order["order"] == 1
    assert json.loads(shown) == {"customer": "Ada", "confirmation": "2 x tea for Ada"}
    assert "orders.confirm" in listed
    assert json.loads(refused) == {"error": "sold out"}
    (row,) = map(json.loads, left.splitlines())
    assert (row["id"], row["status"]) == (order["task"], "COMPLETED")
    assert row["created_ip"] == "127.0.0.1"
    assert counted
    # The plain command knows the project too, where the environment names its settings.
    shop.environment["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    assert "orders.count_stock" in shop.run([sys.executable, "-m", "taskdb.cli", "types"])
