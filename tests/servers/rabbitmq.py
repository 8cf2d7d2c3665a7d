"""RabbitMQ, from the system's package: no Python package brings one."""

import base64
import http.client
import os
import secrets
import subprocess
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import amqp

from tests.servers.leash import leashed
from tests.servers.server import HOST, Server, ServerMissingError, free_port, listens
from tests.waiting import wait_until

# Debian's /usr/sbin/rabbitmq-server insists on root or its own user; the script behind it does not.
_PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/rabbitmq/sbin")
_SUCCESS = range(200, 300)


class RabbitMQ(Server):
    """A node with its own name, data, cookie and epmd: it never meets one of the system."""

    name: ClassVar[str] = "rabbitmq"
    patience_seconds: ClassVar[float] = 90.0

    def __init__(self) -> None:
        self._script = _script()
        super().__init__()
        self._management_port = free_port()
        self._distribution_port = free_port()
        self._epmd_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._write_configuration()

    @property
    def url(self) -> str:
        return self.url_of("/")

    def url_of(self, vhost: str) -> str:
        """The URL of a virtual host, as Celery spells it."""
        return f"amqp://guest:guest@{HOST}:{self.port}/{quote(vhost, safe='')}"

    def start(self) -> None:
        self._start_epmd()
        self._launch([str(self._script)], environ=self._environ())
        self._wait_until_it_answers()

    def close(self) -> None:
        super().close()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def create_vhost(self, name: str) -> str:
        """Create a virtual host that the URL's user may use, and return its URL."""
        self._manage("PUT", f"/api/vhosts/{quote(name, safe='')}")
        return self.url_of(name)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host, and cut off whoever is still connected to it."""
        self._manage("DELETE", f"/api/vhosts/{quote(name, safe='')}")

    def _manage(self, method: str, path: str) -> None:
        token = base64.b64encode(b"guest:guest").decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        line = http.client.HTTPConnection(HOST, self._management_port, timeout=30)
        try:
            line.request(method, path, headers=headers)
            answer = line.getresponse()
            assert answer.status in _SUCCESS, f"{method} {path}: {answer.status} {answer.read()!r}"
        finally:
            line.close()

    def _answers(self) -> bool:
        try:
            with amqp.Connection(f"{HOST}:{self.port}", connect_timeout=2, read_timeout=5):
                return True
        except (OSError, amqp.AMQPError):
            return False

    def _write_configuration(self) -> None:
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = {HOST}:{self.port}\n"
            f"management.tcp.ip = {HOST}\nmanagement.tcp.port = {self._management_port}\n"
        )
        (self.folder / "plugins").write_text("[rabbitmq_management].\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    def _start_epmd(self) -> None:
        """Start the node's own name service; the system's may belong to another node."""
        if self._epmd is not None:
            return
        command = ["epmd", "-address", HOST, "-port", str(self._epmd_port)]
        self._epmd = subprocess.Popen(
            leashed(command), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: listens(self._epmd_port), describe="epmd to listen")

    def _environ(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        folder = str(self.folder)
        return {
            **inherited,
            "HOME": folder,
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": f"taskdb-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/logs",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/none.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            # Makes the script become the node, so that our child is the one to signal …
            "RABBITMQ_ALLOW_INPUT": "1",
            # … and this takes the shell away again that comes with it.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-noshell -noinput -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }


def _script() -> Path:
    for place in _PLACES:
        script = Path(place) / "rabbitmq-server"
        if script.exists():
            return script
    raise ServerMissingError(
        "rabbitmq-server is not installed, and pip cannot bring it: "
        "apt-get install rabbitmq-server (Debian, Ubuntu) or brew install rabbitmq (macOS)"
    )
