"""Settings in an environment: their names, and the messages about wrong ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from taskdb.errors import SettingsError, did_you_mean
from taskdb.model.bounds import LARGEST, LONGEST, NAME_BYTES, QUEUE_BYTES, wrong_text
from taskdb.model.duration import parse_duration
from taskdb.settings.file import PREFIX, SUFFIX, variable_of, without_content

_UNITS = {"seconds": 1, "days": 86_400}
_TEXTS = {"default_queue": QUEUE_BYTES, "default_tenant": NAME_BYTES}

# Variables that Kubernetes sets in every container for a service named taskdb, or taskdb-…
_SERVICE_LINK = re.compile(r".*_(SERVICE_(HOST|PORT(_.+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")


def refuse_unknown(
    fields: Collection[str], environment: Mapping[str, str], overrides: Mapping[str, Any]
) -> None:
    """Raise SettingsError for variables or overrides that are not settings."""
    settings = {variable_of(name) for name in fields}
    known = settings | {f"{name}{SUFFIX}" for name in settings}
    given = {name for name in environment if name.upper().startswith(PREFIX)}
    given -= {name for name in given - known if _SERVICE_LINK.fullmatch(name.upper())}
    given |= {variable_of(name) for name in overrides}
    unknown = sorted(name for name in given if name.upper() not in known)
    if unknown:
        listed = ", ".join(f"{name}{did_you_mean(name.upper(), known)}" for name in unknown)
        raise SettingsError(f"unknown setting {listed}. `taskdb check --settings` lists them all")


def variables_of(environment: Mapping[str, str], fields: Collection[str]) -> dict[str, str]:
    """Return the variables of an environment by field; an empty one counts as not set."""
    given = {name.upper(): text for name, text in environment.items() if text}
    return {field: given[variable_of(field)] for field in fields if variable_of(field) in given}


def explained(error: ValidationError, paths: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """Return the faults, setting by setting; for a setting in a file without its content.

    `paths` has the files by setting, `given` the refused values.
    """
    faults = []
    for fault in error.errors(include_input=False, include_url=False):
        field, *below = [str(part) for part in fault["loc"]] or [""]
        reason = fault["msg"].removeprefix("Value error, ")
        name = variable_of(field)
        if field in paths:
            reason = without_content(reason, given.get(field))
            name = f"{name}{SUFFIX} ({paths[field]!r})"
        faults.append(f"{'.'.join([name, *below])}: {reason}")
    return "wrong settings: " + "; ".join(faults)


def read_units(name: str, value: Any) -> Any:
    """Return the number of a duration with units, such as `5m`; any other value as it is."""
    unit = _UNITS.get(name.rpartition("_")[2])
    if unit is not None and isinstance(value, str):
        with suppress(ValueError):
            return parse_duration(value).total_seconds() / unit
    return value


def check_bounds(name: str, value: Any) -> None:
    """Raise ValueError for a value that does not fit a timer, a column or a statement."""
    if name in _TEXTS:
        reason = wrong_text(value, _TEXTS[name])
        if reason is not None or (name == "default_queue" and not value.strip()):
            raise ValueError(reason or "is empty: leave it out, or name a queue")
    unit = _UNITS.get(name.rpartition("_")[2])
    numbers = value.values() if isinstance(value, Mapping) else [value]
    for number in numbers if unit is not None else ():
        if not number * unit <= LONGEST.total_seconds():
            raise ValueError(f"at most {LONGEST.days:,} days")
    if type(value) is int and value > LARGEST:
        raise ValueError(f"at most {LARGEST:,}")
