"""`taskdb check --settings`: every setting with value, default and meaning; no secret is shown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from rich.text import Text

from taskdb.cli.document import document_of
from taskdb.cli.given_client import settings_in_force
from taskdb.cli.output import Output
from taskdb.cli.value_text import setting_text
from taskdb.errors import SettingsError
from taskdb.redaction.redaction import redaction_of
from taskdb.redaction.url_mask import MASK, mask_url, mask_urls
from taskdb.settings.file import SUFFIX, variable_of
from taskdb.settings.meaning import meanings
from taskdb.settings.settings import Settings

_SECRET_WHOLE = {"alarm_channels", "celery", "message_keys", "schedules"}
"""Settings in which each part may be a secret if they cannot be parsed."""
_INPUT = "input"
_BUILT_IN = redaction_of((), ())
_MOST = 65_536
"""Characters of one value: more than a terminal can show."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as text; `value` is the value in force."""

    name: str
    value: str
    default: str
    meaning: str


def print_settings(output: Output) -> SettingsError | None:
    """List all settings. Returns the error of those of the environment, or None."""
    problem, loaded = None, None
    try:
        loaded = settings_in_force()
    except SettingsError as error:
        problem = error
    for setting in settings_of(loaded):
        if output.is_json:
            output.document(document_of(setting))
        else:
            _print(output, setting)
    return problem


def settings_of(loaded: Settings | None) -> Iterator[Setting]:
    """Yield every setting; a wrong one with the text of its variable."""
    meaning = meanings()
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        given = _given(name, default) if loaded is None else getattr(loaded, name)
        shown = masked(name, given), masked(name, default)
        yield Setting(variable_of(name), *shown, meaning[name])


def _given(name: str, default: Any) -> Any:
    """Return the value of a variable, which may be wrong. JSON is decoded to find its secrets."""
    variable = variable_of(name)
    text = os.environ.get(variable)
    file = os.environ.get(f"{variable}{SUFFIX}")
    if not text:
        return f"(of the file {file})" if file else default
    if "SecretStr" in str(Settings.model_fields[name].annotation):
        return SecretStr(text)
    if name not in _SECRET_WHOLE:
        return text
    try:
        found = json.loads(text)
    except ValueError:
        return MASK
    is_shaped = isinstance(found, dict if name == "celery" else list)
    return found if is_shaped and name != "alarm_channels" else MASK


def masked(name: str, value: Any) -> str:
    """Return a value as text without secrets: of a URL, under a secret name, by a pattern."""
    if isinstance(value, SecretStr):
        url = value.get_secret_value()
        is_url = name.endswith("url") and "://" in url
        return setting_text(mask_url(url) if is_url or not url else MASK)
    if isinstance(value, tuple | list) and any(isinstance(one, SecretStr) for one in value):
        return MASK
    if name == "schedules" and isinstance(value, tuple | list):
        value = tuple(_without_input(one) for one in value)
    several = value if isinstance(value, tuple | list) else [value]
    if any(isinstance(one, Mapping) for one in several):
        return setting_text(_BUILT_IN.value(value, _MOST))
    return mask_urls(setting_text(value))


def _without_input(schedule: Any) -> Any:
    """Return a schedule without its input, in which any value may be secret."""
    if not isinstance(schedule, Mapping):
        return MASK
    return {name: MASK if name == _INPUT else value for name, value in schedule.items()}


def _print(output: Output, setting: Setting) -> None:
    is_own = setting.value != setting.default
    default = f"  (default: {setting.default})" if is_own else ""
    style = "bold cyan" if is_own else "bold"
    output.line(Text.assemble((setting.name, style), " = ", setting.value, (default, "dim")))
    output.line(f"    {setting.meaning}")
