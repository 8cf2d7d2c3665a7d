"""The forms in which a variable holds several values: words with commas between them, or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator


def split_words(value: Any) -> Any:
    """The words of a text, without the spaces around them; any other value as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def parse_json(value: Any) -> Any:
    """The value of a JSON text, any other value as it is. Raises ValueError."""
    return json.loads(value) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(split_words)]
"""A setting of several words: `a, b`."""


def checked(check: Callable[[Any], object]) -> AfterValidator:
    """A validator that keeps the value; `check` raises ValueError for a wrong one."""

    def keep(value: Any) -> Any:
        check(value)
        return value

    return AfterValidator(keep)


JsonObject = Annotated[dict[str, Any], BeforeValidator(parse_json)]
"""A setting that is a JSON object."""
JsonTexts = Annotated[tuple[str, ...], BeforeValidator(parse_json)]
"""A setting that is a JSON list of texts."""
JsonObjects = Annotated[tuple[dict[str, Any], ...], BeforeValidator(parse_json)]
"""A setting that is a JSON list of objects."""
