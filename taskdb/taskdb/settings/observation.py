"""Settings of what people look at: requests, health, metrics, doctor and logs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from taskdb.model.principal.web_request import TrustedProxies, trusted_proxies_of
from taskdb.settings.location import Address
from taskdb.settings.payload import MEBIBYTE
from taskdb.settings.value import Words, checked


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _address_text(value: Any) -> Any:
    text = str(value) if isinstance(value, int) else value
    if isinstance(text, str) and text:
        Address.parse(text)
    return text


class ObservationSettings(BaseModel, defer_build=True):
    """The recorded origin of requests, the pages of a beat, the doctor and the log."""

    trusted_proxies: Annotated[Words, checked(TrustedProxies.parse)] = ()
    """Comma-separated networks of your own proxies, such as `10.1.0.0/16` (`unix`: proxies on a
    Unix socket). Only addresses that these proxies wrote into a request are recorded. Empty: no
    proxy is trusted, and the address of the peer is recorded."""
    forwarded_header: Literal["X-Forwarded-For", "Forwarded"] = "X-Forwarded-For"
    """The header in which those proxies write the address of the client. They must set it
    themselves; the client can send the other one."""
    http: Annotated[str, BeforeValidator(_address_text)] = ""
    """Where a beat serves `/healthz`, `/readyz` and `/metrics`: `PORT` (on 127.0.0.1 only) or
    `HOST:PORT`, for IPv6 `[::]:PORT`. Empty: a beat serves no pages."""
    metrics_interval_seconds: PositiveFloat = 5.0
    """Pause between two readings of the rows for `/metrics`. A scrape in between gets the last
    reading."""
    metrics_label_values: PositiveInt = 100
    """Each label of `/metrics` (type, queue, tenant) shows at most this many values by name; the
    others are `other`."""
    metrics_tenants: bool = False
    """Count tasks in `/metrics` by tenant as well."""
    doctor_transaction_seconds: NonNegativeFloat = 300.0
    """`taskdb doctor` lists a transaction that has held vacuum back for longer."""
    doctor_dead_rows: NonNegativeInt = 10_000
    """`taskdb doctor` lists a table with more dead rows, if they are also more than a fifth of its
    rows."""
    doctor_disk_free_bytes: NonNegativeInt = 1024 * MEBIBYTE
    """`taskdb doctor` lists a disk of this machine with less free space, in bytes."""
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
    ] = "INFO"
    """Lowest level that is logged."""
    log_format: Literal["console", "json"] = "console"
    """Format of the log."""

    @property
    def proxies(self) -> TrustedProxies:
        """The proxies that may set the address of a client."""
        return trusted_proxies_of(self.trusted_proxies, self.forwarded_header)

    @property
    def http_address(self) -> Address:
        """The address that a beat serves its pages on. Raises ValueError without one."""
        return Address.parse(self.http)
