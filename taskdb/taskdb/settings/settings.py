"""The settings of one TaskDB: one frozen object of a section per noun.

Each section is a file beside this one, and has every setting with its default, meaning and unit.
The environment is read here, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, ValidationError, ValidationInfo, field_validator

from taskdb.errors import SettingsError
from taskdb.settings.alarm import AlarmSettings
from taskdb.settings.environment import (
    check_bounds,
    explained,
    read_units,
    refuse_unknown,
    variables_of,
)
from taskdb.settings.file import PREFIX, with_files
from taskdb.settings.message import MessageSettings
from taskdb.settings.notification import NotificationSettings
from taskdb.settings.observation import ObservationSettings
from taskdb.settings.payload import PayloadSettings
from taskdb.settings.publication import PublicationSettings
from taskdb.settings.redaction import RedactionSettings
from taskdb.settings.schedule import ScheduleSettings
from taskdb.settings.secret import removable, secrets_below, secrets_of
from taskdb.settings.site import SiteSettings
from taskdb.settings.source import settings_sources
from taskdb.settings.upkeep import UpkeepSettings
from taskdb.settings.worker import WorkerSettings


class Settings(
    # From the last to the first: pydantic lists the fields of the last class first.
    ObservationSettings,
    AlarmSettings,
    NotificationSettings,
    RedactionSettings,
    MessageSettings,
    WorkerSettings,
    UpkeepSettings,
    ScheduleSettings,
    PublicationSettings,
    PayloadSettings,
    SiteSettings,
):
    """The settings of one TaskDB, frozen. `Settings.load()` reads the environment."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=False,
        defer_build=False,  # sections defer it, since only this class is ever made
    )

    if TYPE_CHECKING:
        # Validation makes a SecretStr of a text, a timedelta of "5m", ...: callers may pass those.
        def __init__(self, **values: Any) -> None: ...

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Return the settings of the environment, with overrides on top.

        An empty variable counts as not set. `TASKDB_<NAME>_FILE` (or `<name>_file`) names a file
        with the value. `environment` defaults to that of the process, and is read now; there the
        settings of a framework (Django's `TASKDB`) have precedence. Raises SettingsError that
        names every wrong or unknown setting.
        """
        names = os.environ if environment is None else environment
        fields = cls.model_fields
        refuse_unknown(fields, names, overrides)
        given, paths = with_files(overrides, fields)
        for source in settings_sources() if environment is None else ():
            read = source.read()
            refuse_unknown(fields, {}, read)
            found, more = with_files(read, fields, besides=given)
            given, paths = {**found, **given}, {**more, **paths}
        variables, more = with_files(names, fields, prefix=PREFIX, besides=given)
        given, paths = {**variables_of(variables, fields), **given}, {**more, **paths}
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError(explained(error, paths, given)) from None

    @field_validator("*", mode="before")
    @classmethod
    def _has_units(cls, value: Any, info: ValidationInfo) -> Any:
        return read_units(str(info.field_name), value)

    @field_validator("*")
    @classmethod
    def _is_in_bounds(cls, value: Any, info: ValidationInfo) -> Any:
        check_bounds(str(info.field_name), value)
        return value

    @property
    def channel_url(self) -> str:
        """The Redis that notifications are published to; empty without one."""
        broker = self.broker_url.get_secret_value()
        is_redis = broker.split("://", maxsplit=1)[0] in {"redis", "rediss"}
        return self.redis_channel_url.get_secret_value() or (broker if is_redis else "")

    @property
    def payload_folder(self) -> Path:
        """The folder of large payloads."""
        return self.payload_dir or self.data_dir / "payloads"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts of these settings that must not appear in a log, the longest first."""
        values = [getattr(self, name) for name in type(self).model_fields]
        found = {*secrets_of(values), *secrets_below((self.celery, self.schedules), self.redaction)}
        for channel in self.alarm_channels:
            found |= {channel.target.partition("://")[2], *channel.secrets}
        return removable(found)
