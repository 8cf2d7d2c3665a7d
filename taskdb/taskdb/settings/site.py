"""Settings of a site: its database and broker, and the defaults of a submit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, PrivateAttr, SecretStr

from taskdb.settings.location import check_broker_url, store_url_of
from taskdb.settings.value import Words, checked


def _with_driver(url: SecretStr) -> SecretStr:
    return SecretStr(store_url_of(url.get_secret_value())) if url else url


class SiteSettings(BaseModel, defer_build=True):
    """Database, broker, task modules, and the defaults of a submit."""

    _began_in: Path = PrivateAttr(default_factory=Path.cwd)
    """The folder that relative paths start from, also after a body has changed the folder."""

    data_dir: Path = Path(".taskdb")
    """Folder of the embedded defaults: database, messages, payloads."""
    database_url: Annotated[SecretStr, AfterValidator(_with_driver)] = SecretStr("")
    """SQLAlchemy URL of the store (PostgreSQL or SQLite). Empty: SQLite under the data folder,
    which migrates itself."""
    broker_url: Annotated[SecretStr, checked(check_broker_url)] = SecretStr("")
    """Celery broker URL (redis://, amqp://, taskdb-sqlite://). Empty: the embedded broker under the
    data folder."""
    task_modules: Words = ()
    """Comma-separated modules that define task types."""
    default_queue: str = "taskdb"
    """Queue of a type that names none."""
    default_tenant: str = ""
    """Tenant of a submit that names none."""
    allow_unknown_types: bool = False
    """Let submit accept types that this process does not know. Only the worker validates their
    input."""
    docs_url: str = ""
    """Address of a site of these docs, for `taskdb docs`. Empty: the pages of the installed
    package."""

    @property
    def is_embedded_store(self) -> bool:
        """No database is set: the default may create and migrate its own file."""
        return not self.database_url

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL in force."""
        given = self.database_url.get_secret_value()
        return given or f"sqlite:///{self._began_in / self.data_dir / 'tasks.sqlite3'}"

    @property
    def message_url(self) -> str:
        """The broker URL in force."""
        file = self._began_in / self.data_dir / "messages.sqlite3"
        return self.broker_url.get_secret_value() or f"taskdb-sqlite:///{quote(str(file))}"
