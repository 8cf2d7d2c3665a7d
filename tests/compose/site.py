"""A site of containers: a fresh clone, its compose file, and what can be done to them."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from sqlalchemy import create_engine, text
from tests.waiting import wait_until

from taskdb import TaskDB
from taskdb.settings.settings import Settings
from taskdb.types.registry import import_task_modules

ROOT = Path(__file__).parents[2]
MODULES = "tasks.greeting,customer_import.tasks,compose_tasks"
PORTS = tuple(
    f"{name}_PORT"
    for name in (
        "POSTGRES",
        "REDIS",
        "RABBITMQ",
        "FLOWER",
        "PROMETHEUS",
        "ALERTMANAGER",
        "GRAFANA",
        "SHOP",
    )
)


def docker(*words: str, timeout: float = 300) -> str:
    """What the program answers on standard output; raises with what it said when it fails."""
    return run(["docker", *words], timeout=timeout)


def run(
    words: Sequence[str],
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
    timeout: float = 300,
) -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class Site:
    """One clone, one project of docker-compose. `close` removes all of it."""

    def __init__(self, folder: Path, image: str, **values: str) -> None:
        self.folder = folder / "clone"
        self.project = f"taskdb-{folder.name}".replace("_", "-")
        self._clients: list[TaskDB] = []
        clone(self.folder)
        self.values = self._fill_in(
            TASKDB_IMAGE=image, TASKS_DIR="./tasks", TASK_MODULES=MODULES, **values
        )

    def _fill_in(self, **values: str) -> dict[str, str]:
        """Do what the example says, and put the ports where nobody else has any."""
        said = (self.folder / ".env.example").read_text()
        commands = "\n".join(re.findall(r"^#   (.*)$", said, re.MULTILINE))
        run(["sh", "-ec", commands], folder=self.folder)
        file = self.folder / ".env"
        assert file.stat().st_mode & 0o077 == 0, "secrets are for their owner"
        # Their own tasks, and those of the examples.
        tasks = self.folder / "tasks"
        shutil.copytree(self.folder / "examples", tasks)
        shutil.copy(Path(__file__).with_name("compose_tasks.py"), tasks)
        ports = {name: str(free_port()) for name in PORTS}
        with file.open("a") as lines:
            lines.writelines(f"{name}={value}\n" for name, value in {**ports, **values}.items())
        return dict(re.findall(r"^([A-Z_]+)=(.*)$", file.read_text(), re.MULTILINE))

    # --- containers -------------------------------------------------------------------------------

    def change(self, **values: str) -> None:
        """Give variables of the file of secrets other values."""
        file = self.folder / ".env"
        kept = [line for line in file.read_text().splitlines() if line.split("=")[0] not in values]
        lines = [*kept, *(f"{name}={value}" for name, value in values.items())]
        file.write_text("\n".join(lines) + "\n")

    def compose(self, *words: str, timeout: float = 300) -> str:
        return self.shell(shlex.join(["docker-compose", *words]), timeout=timeout)

    def shell(self, commands: str, timeout: float = 300) -> str:
        """Run lines of a guide in the clone, as somebody who has only just logged in."""
        own = ("TASKDB_", "POSTGRES_", "SHOP_", "COMPOSE_")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(own)
        }
        return run(
            ["sh", "-ec", commands],
            folder=self.folder,
            environment={**environment, "COMPOSE_PROJECT_NAME": self.project},
            timeout=timeout,
        )

    def up(self, workers: int = 3) -> None:
        self.compose("up", "--detach", "--scale", f"worker={workers}")

    def states(self, service: str = "") -> dict[str, str]:
        """Each container of the site with its state: healthy, running, exited (0), …"""
        label = f"label=com.docker.compose.project={self.project}"
        more = ["--filter", f"label=com.docker.compose.service={service}"] if service else []
        ids = docker("ps", "--all", "--quiet", "--filter", label, *more).split()
        return {one["Name"].strip("/"): state_of(one) for one in inspected(ids)}

    def wait_until_healthy(self, timeout: float) -> None:
        good = {"healthy", "exited (0)"}
        wait_until(
            lambda: set(self.states().values()) <= good,
            timeout=timeout,
            describe=lambda: f"all to be healthy: {self.states()}",
        )

    def containers(self, service: str) -> list[str]:
        """The names of those of one service that run."""
        return sorted(
            name for name, state in self.states(service).items() if not state.startswith("exited")
        )

    def host_of(self, container: str) -> str:
        return docker("inspect", "--format", "{{.Config.Hostname}}", container).strip()

    def kill(self, container: str) -> None:
        """Kill -9, as the machine under it does."""
        docker("kill", "--signal", "KILL", container)

    def tail(self) -> str:
        return self.compose("logs", "--no-color", "--tail=60")

    # --- what it is for ---------------------------------------------------------------------------

    def client(self) -> TaskDB:
        """A client on this machine, outside of the containers."""
        if not self._clients:
            import_task_modules(["tests.compose.compose_tasks"])
            self._clients.append(TaskDB(Settings.load(self.host_variables())))
        return self._clients[0]

    def host_variables(self) -> dict[str, str]:
        its = self.values
        is_rabbitmq = its.get("BROKER_SCHEME") == "amqp"
        scheme, end = ("amqp", "") if is_rabbitmq else ("redis", "0")
        port = its["RABBITMQ_PORT" if is_rabbitmq else "REDIS_PORT"]
        return {
            "TASKDB_DATABASE_URL": self.database_url,
            "TASKDB_BROKER_URL": f"{scheme}://taskdb:{its['BROKER_PASSWORD']}@127.0.0.1:{port}/{end}",
            "TASKDB_CELERY": its.get("TASKDB_CELERY", ""),
        }

    @property
    def database_url(self) -> str:
        return self.url_of("taskdb", "DATABASE_PASSWORD")

    def url_of(self, role: str, variable: str, database: str = "taskdb") -> str:
        """The database as one of its roles reaches it from this machine."""
        its = self.values
        return f"postgresql://{role}:{its[variable]}@127.0.0.1:{its['POSTGRES_PORT']}/{database}"

    @property
    def driver_url(self) -> str:
        return self.database_url.replace("postgresql:", "postgresql+psycopg:")

    def query(self, sql: str, url: str = "", **values: Any) -> list[dict[str, Any]]:
        engine = create_engine(
            url.replace("postgresql:", "postgresql+psycopg:") if url else self.driver_url
        )
        try:
            with engine.connect() as connection:
                return [dict(row) for row in connection.execute(text(sql), values).mappings()]
        finally:
            engine.dispose()

    def shorten(self, ids: Sequence[str]) -> None:
        """Let naps that have not ended be short from now on."""
        engine = create_engine(self.driver_url)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE taskdb_task SET input = jsonb_set(input, '{seconds}', '0.05')"
                    " WHERE id::text = ANY(:ids) AND status <> 'COMPLETED'"
                ),
                {"ids": list(ids)},
            )
        engine.dispose()

    def statuses(self, ids: Sequence[str]) -> dict[str, int]:
        """How many of these tasks are in which status."""
        found = self.query(
            "SELECT status, count(*) AS n FROM taskdb_task WHERE id::text = ANY(:ids)"
            " GROUP BY status",
            ids=list(ids),
        )
        return {row["status"]: row["n"] for row in found}

    def wait_until_completed(self, ids: Sequence[str], timeout: float = 300) -> None:
        wait_until(
            lambda: self.statuses(ids) == {"COMPLETED": len(ids)},
            timeout=timeout,
            describe=lambda: f"{len(ids)} to be COMPLETED, not {self.statuses(ids)}",
        )

    def wait_for_some(self, ids: Sequence[str], count: int) -> None:
        """Until so many of these are COMPLETED."""
        wait_until(lambda: self.statuses(ids).get("COMPLETED", 0) >= count, timeout=60)

    def flower(self, path: str) -> Any:
        """What Flower's API answers to who knows the password."""
        its = self.values
        word = b64encode(f"admin:{its['FLOWER_PASSWORD']}".encode()).decode()
        url = f"http://127.0.0.1:{its['FLOWER_PORT']}{path}"
        with urlopen(
            Request(url, headers={"Authorization": f"Basic {word}"}), timeout=30
        ) as answer:
            return json.load(answer)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        profiles = ["--profile", "rabbitmq", "--profile", "observability"]
        self.compose(*profiles, "down", "--volumes", "--timeout", "5")


def clone(target: Path) -> None:
    """Every file that git knows or would take, as it is in the working tree."""
    listed = run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], folder=ROOT
    )
    for name in listed.strip("\0").split("\0"):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def inspected(ids: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
    return found


def state_of(container: dict[str, Any]) -> str:
    state = container["State"]
    if state["Status"] == "exited":
        return f"exited ({state['ExitCode']})"
    return str(state.get("Health", {}).get("Status", state["Status"]))
