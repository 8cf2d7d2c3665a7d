"""JSON of an option: `--input` with one option a field, or another option."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from taskdb.cli.usage import wrong_usage


def read_input(given: str | None, fields: dict[str, Any]) -> Any:
    """Read the whole input; the option of a field wins over the same field in `--input`.

    Raises InvalidInput for text that is not JSON, and for fields beside an input that is not an
    object.
    """
    if given is None:
        return fields or None
    value = read_json(given, "--input")
    if not fields:
        return value
    if isinstance(value, dict):
        return {**value, **fields}
    advice = "is not a JSON object, so it cannot be joined with options of single fields"
    raise wrong_usage("--input", advice)


def read_json(given: str, option: str) -> Any:
    """Read the value of an option: JSON itself, `@FILE`, or `-` for standard input.

    Raises InvalidInput.
    """
    is_elsewhere = given == "-" or given.startswith("@")
    text = text_of_file(given.removeprefix("@"), option) if is_elsewhere else given
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        advice = f"is not JSON ({error}); a file is named as @file, standard input as -"
        raise wrong_usage(option, advice) from None


def text_of_file(name: str, option: str) -> str:
    """The text of a file, or of standard input for `-`. Raises InvalidInput."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # Not right after the name: of `--secret-file: x` the next word would be hidden.
        raise wrong_usage(option, f"{error}: the file cannot be read") from None
