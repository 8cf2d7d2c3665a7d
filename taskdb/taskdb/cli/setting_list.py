"""`taskdb check --settings`: every setting with value, default and meaning; no secret is shown."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from taskdb.cli.output import Output
from taskdb.cli.session import settings_in_force
from taskdb.cli.wording import setting_text
from taskdb.environment import PREFIX
from taskdb.errors import SettingsError
from taskdb.settings import Settings

_PASSWORD = re.compile(r"(?<=://)([^/@\s]*:)[^@\s]*(?=@)")
_SECRET_NAME = re.compile(r"password|passwd|secret|token|credential|key$", re.IGNORECASE)
MASK = "***"
_SECRET_WHOLE = {f"{PREFIX}ALARM_CHANNELS"}
"""Their targets are secrets, whatever they look like."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as text; `value` is what is in force."""

    name: str
    value: str
    default: str
    meaning: str


def print_settings(output: Output) -> SettingsError | None:
    """List all settings; answers what is wrong with those of the environment, if anything is."""
    problem = None
    loaded: Settings | None = None
    try:
        loaded = settings_in_force()
    except SettingsError as error:
        problem = error
    for setting in settings_of(loaded):
        if output.is_json:
            output.document(asdict(setting))
        else:
            _print(output, setting)
    return problem


def settings_of(loaded: Settings | None) -> Iterator[Setting]:
    """Every setting; where the environment is wrong, what it says."""
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        variable = f"{PREFIX}{name.upper()}"
        given = _given(variable, default) if loaded is None else getattr(loaded, name)
        yield Setting(variable, masked(given), masked(default), field.description or "")


def _given(variable: str, default: Any) -> Any:
    """What the environment says, though it may be wrong; JSON is read, to find its secrets."""
    text = os.environ.get(variable)
    if not text:
        return default
    if variable in _SECRET_WHOLE:
        return MASK
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, dict) else text


def masked(value: Any) -> str:
    """A value as text, with the passwords of URLs and the values of secret names hidden."""
    return _PASSWORD.sub(rf"\g<1>{MASK}", setting_text(_without_secrets(value)))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: MASK if _SECRET_NAME.search(str(name)) else _without_secrets(one)
            for name, one in value.items()
        }
    return value


def _print(output: Output, setting: Setting) -> None:
    is_own = setting.value != setting.default
    default = f"  (default: {setting.default})" if is_own else ""
    style = "bold cyan" if is_own else "bold"
    output.line(Text.assemble((setting.name, style), " = ", setting.value, (default, "dim")))
    output.line(f"    {setting.meaning}")
