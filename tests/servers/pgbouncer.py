"""PgBouncer before one database of a PostgreSQL, in transaction mode, from the system's package."""

import os
import pwd
import shutil
from pathlib import Path
from typing import ClassVar

import psycopg

from tests.servers.leash import KEEP_USER
from tests.servers.server import HOST, Server, ServerMissingError


class PgBouncer(Server):
    """A pooler whose clients share a few connections of the server."""

    name: ClassVar[str] = "pgbouncer"

    def __init__(self, port: int, database: str, *, pool_size: int = 4) -> None:
        self._program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        if not Path(self._program).exists():
            raise ServerMissingError("pgbouncer is not installed: apt-get install pgbouncer")
        super().__init__()
        self._behind = port
        self._database = database
        self._pool_size = pool_size

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@{HOST}:{self.port}/{self._database}"

    def start(self) -> None:
        nobody = pwd.getpwnam("nobody")
        as_root = os.geteuid() == 0
        (self.folder / "users").write_text('"postgres" ""\n')
        settings = self.folder / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"{self._database} = host={HOST} port={self._behind} dbname={self._database}\n"
            "[pgbouncer]\n"
            f"listen_addr = {HOST}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self.folder / 'users'}\n"
            f"pool_mode = transaction\ndefault_pool_size = {self._pool_size}\n"
            "max_client_conn = 200\n"
        )
        if as_root:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        self._launch([self._program, str(settings)], uid=nobody.pw_uid if as_root else KEEP_USER)
        self._wait_until_it_answers()

    def _answers(self) -> bool:
        url = self.url.replace("+psycopg", "")
        try:
            with psycopg.connect(url, prepare_threshold=None, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False
