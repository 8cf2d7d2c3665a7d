"""The form of addresses and URLs in the settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import SecretStr
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_ADDRESS = re.compile(
    r"((\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):)?(?P<port>\d{1,5})"
)
_LAST_PORT = 65_535
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
# The allowed names of a bucket; a prefix of plain words needs no quoting.
_BUCKET = re.compile(r"s3://(?P<name>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<path>[\w.=/-]*))?")


class Address(NamedTuple):
    """The address on which a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `PORT` (on this machine only) or `HOST:PORT`. Raises ValueError."""
        found = _ADDRESS.fullmatch(text.strip())
        if found is None or int(found["port"]) > _LAST_PORT:
            raise ValueError(f"{text!r} is not an address: write PORT, HOST:PORT or [IPv6]:PORT")
        return cls(found["ipv6"] or found["host"] or "127.0.0.1", int(found["port"]))


def port_range(word: str) -> range:
    """Return the ports of `443` or `8000-8999`. Raises ValueError."""
    found = _PORTS.fullmatch(word)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= _LAST_PORT:
        raise ValueError(f"{word!r} is not a port: write 443 or 8000-8999, from 1 to {_LAST_PORT}")
    return range(first, last + 1)


class Bucket(NamedTuple):
    """A bucket, and the prefix of object names in it: empty, or a path that ends with `/`."""

    name: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `s3://bucket` or `s3://bucket/prefix`. Raises ValueError."""
        found = _BUCKET.fullmatch(url)
        if found is None:
            raise ValueError(f"{url!r} is not a bucket: write s3://bucket or s3://bucket/prefix")
        path = (found["path"] or "").strip("/")
        return cls(found["name"], f"{path}/" if path else "")


ENCODE = (
    "spell characters of the user and the password as codes: `@` as %40, `/` as %2F, `:` as %3A, "
    "`#` as %23, `?` as %3F, `[` as %5B, `]` as %5D, `%` as %25"
)
_WRITE = "write postgresql://USER@HOST/NAME, or sqlite:///FILE"
_QUOTES = {'"', "'", "`"}
_BEFORE_PATH = re.compile(r"[^/?#]*")
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]+)(:\d+)?(,.*)?")


def check_broker_url(value: SecretStr) -> None:
    """Raise ValueError for a password that is not percent-encoded.

    Celery would cut such a password, use the rest as host, port or path, and show it in errors.
    """
    check_edges(value.get_secret_value())
    for url in value.get_secret_value().split(";"):
        _, mark, rest = url.partition("://")
        found = _BEFORE_PATH.match(rest if mark else "")
        authority = found[0] if found else ""
        if not authority or "@" not in rest[len(authority) :]:
            continue
        path = rest[len(authority) :].partition("?")[0]
        if "@" in path or not ("@" in authority or _HOST.fullmatch(authority)):
            raise ValueError(ENCODE)


def check_edges(url: str) -> None:
    """Raise ValueError for spaces or quotes around a URL, which Docker and YAML keep."""
    if url != url.strip():
        raise ValueError("remove the spaces around the URL")
    if _QUOTES & {url[:1], url[-1:]}:
        raise ValueError("remove the quotes around the URL: here they are part of it")


def store_url_of(value: str) -> str:
    """Return the URL with the supported driver of its database. Raises ValueError."""
    check_edges(value)
    try:
        url = make_url(value)
    except ArgumentError:
        raise ValueError(f"not a database URL: {_WRITE}") from None
    except ValueError:
        # The text of the error may show part of a password.
        raise ValueError(f"the port is not a number; {ENCODE}") from None
    if url.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        threshold = str(url.query.get("prepare_threshold", "none")).lower()
        if threshold != "none" and not threshold.isdecimal():
            raise ValueError("prepare_threshold must be a whole number, or none")
        if "@" in f"{url.host}{url.database}":
            raise ValueError(ENCODE)
        return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        if url.database in {None, "", ":memory:"}:
            raise ValueError("each connection would have its own database in memory: name a file")
        return _anchored(url) or value
    database, _, driver = url.drivername.partition("+")
    if driver and database in {"postgres", "postgresql", "sqlite"}:
        needed = {"sqlite": "sqlite"}.get(database, "postgresql")
        raise ValueError(
            f"TaskDB has its own driver: write {needed}:// instead of {url.drivername}://"
        )
    raise ValueError(f"no database {database}:// is supported: {_WRITE}")


def _anchored(url: URL) -> str | None:
    """Return the URL with the absolute path of its file."""
    path = url.database or ""
    if path.startswith("file:") or Path(path).is_absolute():
        return None
    return url.set(database=str(Path(path).absolute())).render_as_string(hide_password=False)
