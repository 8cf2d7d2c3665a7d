"""Settings in files: `TASKDB_<NAME>_FILE` names the file with the value of `TASKDB_<NAME>`.

So a secret is not in the environment, which child processes and `docker inspect` show.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from taskdb.errors import SettingsError

PREFIX = "TASKDB_"
SUFFIX = "_FILE"
_LARGEST = 1024 * 1024
"""Most bytes of a file; a larger one is a mistake."""
_WORD = re.compile(r"[^\s,;:\"'{}\[\]]{4,}")


def variable_of(field: str) -> str:
    """Return the name of a setting in the environment."""
    return f"{PREFIX}{field.upper()}"


def with_files(
    given: Mapping[str, Any],
    fields: Collection[str],
    *,
    prefix: str = "",
    besides: Collection[str] = (),
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return `given` with the content of each file that it names, and the paths by setting.

    The names in `given` are fields after a prefix, in upper or lower case. A file for a setting in
    `besides` is not read, since another source has precedence. Raises SettingsError for a setting
    that is set twice, and for a file that cannot be a setting; the message never has content of the
    file.
    """
    spelled = {name.upper(): name for name in given}
    values, paths = dict(given), {}
    for field in fields:
        name = f"{prefix}{field}".upper()
        file_name = spelled.get(f"{name}{SUFFIX}")
        if file_name is None:
            continue
        path = values.pop(file_name)
        if not _is_given(path) or field in besides:
            continue
        variable = variable_of(field)
        if name in spelled and _is_given(given[spelled[name]]):
            message = f"{variable} and {variable}{SUFFIX} are both set: remove one of them"
            raise SettingsError(message)
        values.pop(spelled.get(name, name), None)
        values[file_name[: -len(SUFFIX)]] = _content(f"{variable}{SUFFIX}", path)
        paths[field] = str(path)
    return values, paths


def without_content(message: str, content: Any) -> str:
    """Return a message about a setting in a file, without any content of that file."""
    if any(word in message for word in _WORD.findall(str(content))):
        return "its content is not a value of this setting"
    return message


def _is_given(value: Any) -> bool:
    return value is not None and value != ""


def _content(variable: str, path: Any) -> str:
    try:
        content = _read(Path(path))
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except (TypeError, ValueError) as error:
        # A decoding error has the content in its message.
        reason = "is not UTF-8 text" if isinstance(error, UnicodeError) else "is not a file path"
    else:
        if not content:
            reason = "is empty"
        elif "\x00" in content:
            reason = "has a NUL character, which no setting may have"
        else:
            return content
    message = f"{variable}: {str(path)!r}: {reason}. Name a readable file with only the value"
    raise SettingsError(message)


def _read(path: Path) -> str:
    # A pipe without a writer would block for ever.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        state = os.fstat(number)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(0, "is not a regular file")
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise OSError(0, f"has more than {_LARGEST:,} bytes")
    return content.decode("utf-8-sig").rstrip("\r\n")
