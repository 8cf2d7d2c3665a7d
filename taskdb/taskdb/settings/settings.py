"""Every setting, with its default, meaning and unit. The environment is read here only."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self
from urllib.parse import quote

from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from taskdb.errors import SettingsError
from taskdb.model.alarm.alarm import AlarmSource, one_of
from taskdb.model.alarm.routing import (
    AlarmRules,
    Channel,
    Route,
    channels_of_tenants,
    parse_channels,
    parse_routes,
)
from taskdb.model.bounds import NAME_BYTES, wrong_text
from taskdb.model.principal.web_request import TrustedProxies, trusted_proxies_of
from taskdb.model.retention import Retention
from taskdb.redaction.redaction import Redaction, redaction_of
from taskdb.redaction.url_mask import mask_url
from taskdb.settings.environment import Environment, check_bounds, explained, refuse_unknown
from taskdb.settings.file import PREFIX, with_files
from taskdb.settings.location import Address, Bucket, check_broker_url, port_range, store_url_of
from taskdb.settings.secret import secrets_below, secrets_of, telling

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
_KEY_LENGTH = 32
"""Characters of a key for messages, at least."""


class SettingsSource(Protocol):
    """A framework that has settings of its own for this package."""

    def read(self) -> Mapping[str, Any]:
        """Its settings by our names; raises SettingsError."""

    def stamp(self) -> Hashable:
        """Changes when `read` would answer something else."""


_sources: list[SettingsSource] = []


def read_settings_of(source: SettingsSource) -> None:
    """Let `Settings.load` take what this framework says, and ask the environment for the rest."""
    _sources[:] = [source]


def forget_settings_of(source: SettingsSource) -> None:
    """Undo `read_settings_of`."""
    if source in _sources:
        _sources.remove(source)


def settings_stamp() -> Hashable:
    """Changes when a framework's settings do; None without a framework."""
    return _sources[0].stamp() if _sources else None


class Settings(BaseSettings):
    """The settings of one TaskDB, frozen. `Settings.load()` reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed over: `load` alone reads an environment, and only the one named."""
        return (init_settings,)

    _began_in: Path = PrivateAttr(default_factory=Path.cwd)
    """What a relative path means, also once a body has changed the folder of its process."""

    data_dir: Path = Field(
        default=Path(".taskdb"),
        description="Folder of the embedded defaults: database, messages, payloads.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL of the store (PostgreSQL or SQLite). "
        "Empty: SQLite under the data folder, which migrates itself.",
    )
    broker_url: SecretStr = Field(
        default=SecretStr(""),
        description="Celery broker URL (redis://, amqp://, taskdb-sqlite://). "
        "Empty: the embedded broker under the data folder.",
    )
    task_modules: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Comma-separated modules that define task types."
    )
    default_queue: str = Field(default="taskdb", description="Queue of a type that names none.")
    default_tenant: str = Field(default="", description="Tenant of a submit that names none.")
    allow_unknown_types: bool = Field(
        default=False,
        description="Let submit take types that this process does not know (their input is "
        "then checked only by the worker).",
    )

    payload_dir: Path | None = Field(
        default=None,
        description="Folder of large payloads. Default: `payloads` in the data folder.",
    )
    payload_url: str = Field(
        default="",
        description="Bucket of large payloads instead of a folder: `s3://bucket/prefix`, with the "
        "credentials that the environment gives to AWS tools. Empty: the folder.",
    )
    payload_endpoint: str = Field(
        default="",
        description="URL of a server that speaks S3 and is not Amazon's. Empty: as AWS tools "
        "find it.",
    )
    payload_region: str = Field(
        default="", description="Region of the bucket. Empty: as AWS tools find it."
    )
    payload_encryption: Literal["", "AES256", "aws:kms", "aws:kms:dsse"] = Field(
        default="",
        description="How the bucket encrypts payloads. Empty: as the bucket does by itself.",
    )
    payload_kms_key: str = Field(
        default="", description="Key of that encryption by KMS. Empty: the account's own."
    )
    payload_timeout_seconds: float = Field(
        default=10.0, gt=0, description="Longest silence of the bucket; it is asked twice."
    )
    payload_inline_bytes: int = Field(
        default=256 * KIBIBYTE,
        ge=0,
        description="Larger inputs and results leave the row, in bytes.",
    )
    payload_limit_bytes: int = Field(
        default=64 * MEBIBYTE,
        gt=0,
        description="Larger inputs and results are refused, in bytes.",
    )

    publish_budget_seconds: float = Field(
        default=1.0, gt=0, description="The longest that a submit waits for the broker."
    )
    publish_breaker_seconds: float = Field(
        default=5.0,
        ge=0,
        description="After a failed publish, this long is left to the relay.",
    )
    relay_interval_seconds: float = Field(
        default=0.5, gt=0, description="Pause between two passes of the relay."
    )
    relay_grace_seconds: float = Field(
        default=5.0,
        ge=0,
        description="The relay leaves a fresh row this long to the process that submitted it.",
    )
    relay_lease_seconds: float = Field(
        default=30.0,
        gt=0,
        description="A relay that took rows and died gives them back after this.",
    )
    relay_batch: int = Field(default=500, gt=0, description="Rows that a relay takes at once.")
    release_interval_seconds: float = Field(
        default=0.2, gt=0, description="Pause between two looks at who waits before a gate."
    )

    schedules: Annotated[tuple[dict[str, Any], ...], NoDecode] = Field(
        default=(),
        repr=False,
        exclude=True,
        description="Schedules as a JSON list of objects: `name`, `type` and the options of "
        "`Schedule`, durations in seconds and moments as ISO text.",
    )
    schedule_interval_seconds: float = Field(
        default=1.0,
        gt=0,
        le=5,
        description="Longest pause between two looks for schedules that are due.",
    )

    heartbeat_seconds: float = Field(
        default=5.0, gt=0, description="How often a worker says that it lives."
    )
    worker_lease_seconds: float = Field(
        default=20.0, gt=0, description="A worker not seen for this long is dead."
    )
    rescue_interval_seconds: float = Field(
        default=5.0, gt=0, description="Pause between two passes of the rescue."
    )
    reconcile_interval_seconds: float = Field(
        default=10.0, gt=0, description="Pause between two passes of the reconcile loop."
    )
    reconcile_after_seconds: float = Field(
        default=60.0,
        gt=0,
        description="A QUEUED task is published again when one that was queued this much later, "
        "in the same queue and with the same priority, has been taken before it.",
    )
    reconcile_batch: int = Field(
        default=2_000,
        gt=0,
        description="Tasks that are published again in one pass, at most.",
    )
    expire_interval_seconds: float = Field(
        default=5.0, gt=0, description="Pause between two looks for passed deadlines."
    )
    prune_interval_seconds: float = Field(
        default=3600.0, gt=0, description="Pause between two rounds of pruning."
    )
    retention: Annotated[tuple[dict[str, Any], ...], NoDecode] = Field(
        default=(),
        description="How long what is over is kept: a JSON list of rules such as "
        '`[{"type": "mail.*", "status": "COMPLETED", "tenant": "acme", "keep": "7d"}]`; the first '
        "that fits decides, and a member left out fits all. `keep`: `30d`, `12h` or `never`. "
        "Behind them stand the defaults: COMPLETED and CANCELED 30d, FAILED 90d.",
    )
    archive_dir: Path | None = Field(
        default=None,
        description="Folder where tasks are written as JSON lines before they are pruned. "
        "Empty: nowhere.",
    )
    max_crashes: int = Field(
        default=3,
        gt=0,
        description="A task whose process died this often is HALTED as poison.",
    )
    cancel_grace_seconds: float = Field(
        default=10.0,
        ge=0,
        description="Time a running body has to notice that it was canceled.",
    )
    unregistered_limit: int = Field(
        default=10,
        gt=0,
        description="A type that no worker knew this often fails the task.",
    )
    unregistered_delay_seconds: float = Field(
        default=5.0,
        ge=0,
        description="Pause before a task of an unknown type is published again.",
    )

    task_time_limit_seconds: float = Field(
        default=3600, gt=0, description="Hard limit of a type that names no timeout."
    )
    task_soft_time_limit_seconds: float = Field(
        default=3300,
        gt=0,
        description="Soft limit of a type that names no soft timeout.",
    )
    visibility_timeout_seconds: float = Field(
        default=7200,
        gt=0,
        description="Redis only: an unacknowledged message comes back after this.",
    )
    worker_max_tasks_per_child: int = Field(
        default=1000,
        ge=0,
        description="A prefork child is replaced after this many tasks; 0: never.",
    )
    worker_max_memory_per_child_kib: int = Field(
        default=400_000,
        ge=0,
        description="... or past this resident size in KiB; 0: never.",
    )
    worker_exit_seconds: float = Field(
        default=10.0,
        ge=0,
        description="A worker whose work is done is ended if it takes longer to exit.",
    )
    worker_soft_shutdown_seconds: float = Field(
        default=0.0,
        ge=0,
        description="A worker that is told to stop soon (SIGQUIT, or SIGTERM with "
        "`REMAP_SIGTERM=SIGQUIT`) gives running bodies this long before it hands them back.",
    )
    health_dir: Path | None = Field(
        default=None,
        description="Folder where a worker touches the file `alive` with every turn of its "
        "heartbeat, and `seen` with every one that reached the database. Empty: nowhere.",
    )
    celery: Annotated[dict[str, Any], NoDecode] = Field(
        default_factory=dict,
        repr=False,
        exclude=True,
        description="Further Celery settings as JSON; they win over those of this package.",
    )

    message_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated keys that sign messages, of at least 32 characters each: the "
        "first signs, every one verifies. The same for clients, workers and beats. Empty: messages "
        "are not signed.",
    )
    message_unsigned: Literal["refuse", "plain", "accept"] = Field(
        default="refuse",
        description="What a worker with keys does with a message that has no signature: `refuse`; "
        "`plain` runs plain Celery tasks, which nobody signs; `accept` runs every one, while keys "
        "are rolled out.",
    )
    message_age_seconds: float = Field(
        default=30 * 86_400.0,
        gt=0,
        description="A signature counts for so long; a message that waited longer is published "
        "again.",
    )

    redis_transport: Literal["taskdb", "kombu"] = Field(
        default="taskdb",
        description="Whose Redis transport is used: `taskdb` (faster), or `kombu` as it comes, "
        "with Celery's own event loop.",
    )
    worker_prefork: Literal["taskdb", "celery"] = Field(
        default="taskdb",
        description="Whose pool of processes a worker has: `taskdb` (loses nothing at a warm "
        "shutdown), or `celery` as it comes.",
    )

    redact_fields: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated names of fields whose values leave the database only as "
        "`[redacted]` (in alarms, and in the arguments of adopted tasks), beside the built-in "
        "ones (password, token, api_key, cookie …): words such as `account_number`, shapes such "
        "as `*iban*`; `!max_token` names one that may be told.",
    )
    redact_patterns: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Regular expressions, as a JSON list, of what is redacted wherever it stands; "
        "of one with a group `(?P<secret>…)` only that. Built in: passwords in URLs, bearer "
        "tokens, private keys, well-known API keys, card numbers.",
    )
    notify_interval_seconds: float = Field(
        default=0.5, gt=0, description="Pause between two looks for what is to be told."
    )
    notify_threads: int = Field(
        default=8,
        gt=0,
        description="Subscriptions that a beat serves at once; as many again of those whose "
        "target is slow or fails.",
    )
    notify_give_up_seconds: float = Field(
        default=86_400,
        gt=0,
        description="A subscription whose target has failed for so long is dead.",
    )
    outbound_private: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated networks that webhooks may go to though they are not public, "
        "such as `10.1.0.0/16`. Empty: none.",
    )
    outbound_ports: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("443",),
        description="Comma-separated ports, and ranges of ports, that webhooks may go to, such as "
        "`443,8443` or `443,8000-8999`.",
    )
    outbound_http: bool = Field(
        default=False,
        description="Let webhooks also go to `http://` URLs, on port 80 and on those of "
        "`TASKDB_OUTBOUND_PORTS`. What is sent can then be read on its way.",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated networks of your own proxies, such as `10.1.0.0/16` (`unix`: "
        "those that speak over a Unix socket). An address that a request passes on counts only as "
        "far as they wrote it. Empty: none is trusted, and the address of the peer is recorded.",
    )
    forwarded_header: Literal["X-Forwarded-For", "Forwarded"] = Field(
        default="X-Forwarded-For",
        description="The one header in which those proxies write the address; they must set it "
        "themselves, since the other is the client's.",
    )
    outbound_connect_seconds: float = Field(
        default=5.0, gt=0, description="Longest wait for a connection to a target."
    )
    outbound_total_seconds: float = Field(
        default=15.0,
        gt=0,
        description="Longest time that one message may take on its way, answer included.",
    )
    redis_channel_url: SecretStr = Field(
        default=SecretStr(""),
        description="Redis that notifications are published to. Empty: the broker, if it is Redis.",
    )
    http: str = Field(
        default="",
        description="Where a beat serves `/healthz`, `/readyz` and `/metrics`: `PORT` (on "
        "127.0.0.1 only) or `HOST:PORT`, of IPv6 `[::]:PORT`. Empty: nowhere.",
    )
    metrics_interval_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Pause between two looks at the rows for `/metrics`; a scrape in between gets "
        "what the last one saw.",
    )
    metrics_label_values: int = Field(
        default=100,
        gt=0,
        description="Of each label of `/metrics` (type, queue, tenant) so many values keep their "
        "names, the rest is `other`.",
    )
    metrics_tenants: bool = Field(
        default=False, description="Let `/metrics` also tell tasks apart by tenant."
    )

    alarm_channels: Annotated[tuple[Channel, ...], NoDecode] = Field(
        default=(),
        repr=False,
        exclude=True,
        description="Where alarms go: a JSON object of names and targets. A target is an Apprise "
        "URL (`slack://…`, `mailto://…`), the ARN of an SNS topic, `log`, or an object such as "
        '`{"webhook": "https://…", "secret": "whsec_…"}`; `"tenants": ["acme"]` in it lets clients '
        "of these tenants route alarms there, and keeps other alarms away unless a route names it. "
        "The same for workers and beats.",
    )
    alarm_routes: Annotated[tuple[Route, ...], NoDecode] = Field(
        default=(),
        description="Which alarm goes to which channels: a JSON list such as "
        '`[{"to": ["ops"], "severity": "error"}, {"to": ["shop"], "type": "order.*", "tenant": '
        '"acme"}]`; all that fit count. Without any route, here or as a row, every channel gets '
        "every alarm. Routes of tenants only add.",
    )
    alarm_sources: Annotated[tuple[AlarmSource, ...], NoDecode] = Field(
        default=tuple(AlarmSource),
        description="Comma-separated: what raises an alarm where a type says nothing itself "
        "(`failed`, `halted`, `join`, `missed_schedule`, `lost_worker`, `no_consumer`, "
        "`backlog`); `none`: nothing. Default: all.",
    )
    alarm_group_by_tenant: bool = Field(
        default=False,
        description="Count each tenant's failures apart, where a type says nothing itself. Else "
        "one alarm counts for all, and only the operator sees it.",
    )
    alarm_with_input: bool = Field(
        default=False,
        description="Send the redacted input of the last failed task along to programs.",
    )
    alarm_window_seconds: float = Field(
        default=300.0,
        gt=0,
        description="At most one message in so much time for one cause, with the count inside.",
    )
    alarm_interval_seconds: float = Field(
        default=1.0,
        gt=0,
        description="Pause between two passes of the loops that make alarms of failures and "
        "deliver them. A worker with channels does not wait for them.",
    )
    alarm_watch_interval_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Pause between two looks for missed schedules, lost workers, queues without "
        "consumers and backlogs.",
    )
    alarm_unconsumed_seconds: float = Field(
        default=60.0,
        gt=0,
        description="A task that waits for so long in a queue that no live worker takes from "
        "raises an alarm.",
    )
    alarm_backlog_seconds: Annotated[dict[str, float], NoDecode] = Field(
        default_factory=dict,
        description="After what time a task that waits raises an alarm: a JSON object such as "
        '`{"queue:mail": 300, "type:order.pay": 60, "*": 3600}`; `*` is every other queue.',
    )
    alarm_lease_seconds: float = Field(
        default=60.0,
        gt=0,
        description="A process that died while it sent a message leaves it to others after this.",
    )
    alarm_keep_days: float = Field(
        default=90.0, gt=0, description="Resolved alarms and sent messages are kept this long."
    )

    doctor_transaction_seconds: float = Field(
        default=300.0,
        ge=0,
        description="`taskdb doctor` lists a transaction that has held vacuum back for longer.",
    )
    doctor_dead_rows: int = Field(
        default=10_000,
        ge=0,
        description="`taskdb doctor` lists a table with more dead rows, if they are also more than "
        "a fifth of its rows.",
    )
    doctor_disk_free_bytes: int = Field(
        default=1024 * MEBIBYTE,
        ge=0,
        description="`taskdb doctor` lists a disk of this machine that has less free, in bytes.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="Least level that is logged."
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="How log lines look."
    )

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """The settings of the environment, with overrides on top.

        An empty variable counts as not set. `TASKDB_<NAME>_FILE` (or `<name>_file`) names a file
        with the value. Raises SettingsError that names every wrong or unknown setting.
        `environment` defaults to that of the process, and is read now; the settings of a framework
        that is set up (Django's `TASKDB`) stand above that of the process.
        """
        names = os.environ if environment is None else environment
        refuse_unknown(cls, names, overrides)
        given, paths = with_files(overrides, cls.model_fields)
        for source in _sources if environment is None else ():
            said = source.read()
            refuse_unknown(cls, {}, said)
            found, more = with_files(said, cls.model_fields, besides=given)
            given, paths = {**found, **given}, {**more, **paths}
        variables, more = with_files(names, cls.model_fields, prefix=PREFIX, besides=given)
        given, paths = {**Environment(cls, variables)(), **given}, {**more, **paths}
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError(explained(error, paths, given)) from None

    @field_validator("*")
    @classmethod
    def _is_in_bounds(cls, value: Any, info: ValidationInfo) -> Any:
        check_bounds(str(info.field_name), value)
        return value

    @field_validator("outbound_ports", mode="before")
    @classmethod
    def _are_ports(cls, value: Any) -> Any:
        words = cls._split(str(value) if isinstance(value, int) else value)
        if not isinstance(words, list | tuple):
            raise ValueError("ports such as 443,8000-8999")  # noqa: TRY004 - pydantic makes its errors of ValueErrors only
        ports = tuple(str(word) for word in words)
        for word in ports:
            port_range(word)
        return ports

    @field_validator(
        "task_modules", "redact_fields", "outbound_private", "trusted_proxies", mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("message_keys", mode="before")
    @classmethod
    def _are_keys(cls, value: Any) -> Any:
        keys = [one.strip() for one in value.split(",")] if isinstance(value, str) else list(value)
        for key in keys:
            plain = key.get_secret_value() if isinstance(key, SecretStr) else key
            if not isinstance(plain, str) or len(plain) < _KEY_LENGTH:
                advice = "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
                raise ValueError(f"a key has less than {_KEY_LENGTH} characters: {advice}")
        return tuple(keys)

    @field_validator("celery", "schedules", "redact_patterns", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("schedules")
    @classmethod
    def _schedules_have_names(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        names = [one.get("name") for one in value]
        if not all(isinstance(one.get("type"), str) and one.get("name") for one in value):
            message = "each schedule needs its name and type"
            raise ValueError(message)
        if len(set(names)) < len(names):
            message = "two schedules have the same name"
            raise ValueError(message)
        return value

    @field_validator("retention", mode="before")
    @classmethod
    def _are_rules(cls, value: Any) -> Any:
        try:
            rules = json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from None
        Retention.parse(rules)
        return rules

    @field_validator("alarm_channels", mode="before")
    @classmethod
    def _are_channels(cls, value: Any) -> Any:
        is_parsed = isinstance(value, tuple) and all(isinstance(one, Channel) for one in value)
        return value if is_parsed else parse_channels(value)

    @field_validator("alarm_routes", mode="before")
    @classmethod
    def _are_routes(cls, value: Any, info: ValidationInfo) -> Any:
        return parse_routes(value, [one.name for one in info.data.get("alarm_channels", ())])

    @field_validator("alarm_sources", mode="before")
    @classmethod
    def _are_sources(cls, value: Any) -> Any:
        words = cls._split(value)
        return () if tuple(words) == ("none",) else tuple(one_of(AlarmSource, one) for one in words)

    @field_validator("alarm_backlog_seconds", mode="before")
    @classmethod
    def _are_ages(cls, value: Any) -> Any:
        ages = cls._parse(value)
        for name, seconds in dict(ages).items():
            target, _, subject = str(name).partition(":")
            is_text = wrong_text(name, NAME_BYTES) is None
            if name != "*" and (not is_text or target not in {"queue", "type"} or not subject):
                raise ValueError(f"{name!r} is neither queue:NAME, type:NAME nor *")
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
                raise ValueError(f"{name}: give seconds, more than none")
        return ages

    @field_validator("redact_fields")
    @classmethod
    def _name_fields(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        redaction_of(value, ())
        return value

    @field_validator("redact_patterns")
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        redaction_of((), value)
        return value

    @field_validator("database_url")
    @classmethod
    def _database_is_supported(cls, value: SecretStr) -> SecretStr:
        return SecretStr(store_url_of(value.get_secret_value())) if value else value

    @field_validator("broker_url", "redis_channel_url")
    @classmethod
    def _password_is_encoded(cls, value: SecretStr) -> SecretStr:
        check_broker_url(value.get_secret_value())
        return value

    @field_validator("payload_endpoint")
    @classmethod
    def _endpoint_has_no_secret(cls, value: str) -> str:
        if mask_url(value) != value:
            message = "credentials are those of AWS tools: leave them out of the URL"
            raise ValueError(message)
        return value

    @field_validator("outbound_private")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            try:
                ip_network(word)
            except ValueError as error:
                message = f"{error}; write 10.1.0.0/16 or fd00::/8"
                raise ValueError(message) from None
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        TrustedProxies.parse(value)
        return value

    @field_validator("payload_url")
    @classmethod
    def _is_bucket(cls, value: str) -> str:
        if value:
            Bucket.parse(value)
        return value

    @model_validator(mode="after")
    def _payloads_have_one_place(self) -> Self:
        if self.payload_url and self.payload_dir is not None:
            message = "TASKDB_PAYLOAD_URL and TASKDB_PAYLOAD_DIR are both set: leave one of them"
            raise ValueError(message)
        return self

    @field_validator("http", mode="before")
    @classmethod
    def _is_address(cls, value: Any) -> Any:
        text = str(value) if isinstance(value, int) else value
        if isinstance(text, str) and text:
            Address.parse(text)
        return text

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @property
    def is_embedded_store(self) -> bool:
        """No database was named: the default may make and migrate its own file."""
        return not self.database_url

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL that is in force."""
        given = self.database_url.get_secret_value()
        return given or f"sqlite:///{self._began_in / self.data_dir / 'tasks.sqlite3'}"

    @property
    def message_url(self) -> str:
        """The broker URL that is in force."""
        file = self._began_in / self.data_dir / "messages.sqlite3"
        return self.broker_url.get_secret_value() or f"taskdb-sqlite:///{quote(str(file))}"

    @property
    def channel_url(self) -> str:
        """The Redis that is published to; empty where there is none."""
        broker = self.broker_url.get_secret_value()
        is_redis = broker.split("://", maxsplit=1)[0] in {"redis", "rediss"}
        return self.redis_channel_url.get_secret_value() or (broker if is_redis else "")

    @property
    def retention_rules(self) -> Retention:
        """The rules that are in force, the defaults among them."""
        return Retention.parse(self.retention)

    @property
    def alarm_rules(self) -> AlarmRules:
        """What holds for alarms where nothing else is said."""
        return AlarmRules(
            window=timedelta(seconds=self.alarm_window_seconds),
            sources=frozenset(self.alarm_sources),
            group_by_tenant=self.alarm_group_by_tenant,
            with_input=self.alarm_with_input,
            channels=tuple(one.name for one in self.alarm_channels if not one.tenants),
            routes=self.alarm_routes,
            tenant_channels={
                tenant: channels_of_tenants(self.alarm_channels, [tenant])
                for tenant in {name for one in self.alarm_channels for name in one.tenants}
            },
        )

    @property
    def redaction(self) -> Redaction:
        """What is taken out of inputs, errors and tracebacks before they leave."""
        return redaction_of(self.redact_fields, self.redact_patterns)

    @property
    def proxies(self) -> TrustedProxies:
        """The proxies whose word counts for the address of a client."""
        return trusted_proxies_of(self.trusted_proxies, self.forwarded_header)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts of these settings that no log line may have, the longest first."""
        values = [getattr(self, name) for name in type(self).model_fields]
        found = {*secrets_of(values), *secrets_below((self.celery, self.schedules), self.redaction)}
        for channel in self.alarm_channels:
            found |= {channel.target.partition("://")[2], *channel.secrets}
        return telling(found)

    @property
    def http_address(self) -> Address:
        """Where a beat serves; ValueError where it does not."""
        return Address.parse(self.http)

    @property
    def payload_bucket(self) -> Bucket | None:
        """The bucket of large payloads; None where they lie in a folder."""
        return Bucket.parse(self.payload_url) if self.payload_url else None

    @property
    def payload_folder(self) -> Path:
        """Where large payloads lie."""
        return self.payload_dir or self.data_dir / "payloads"
