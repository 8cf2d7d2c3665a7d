"""A field of an input model as an option of the command line."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from taskdb.redaction.printable import printable
from taskdb.types.task_type import TaskType

_WORDS: tuple[tuple[type, str], ...] = (
    (bool, "flag"),
    (int, "integer"),
    (float, "number"),
    (Decimal, "number"),
    (datetime, "moment"),
    (date, "date"),
    (time, "time"),
    (timedelta, "duration"),
    (UUID, "uuid"),
    (Path, "path"),
    (str, "text"),
)
"""The first match counts, since bool is an int and datetime a date."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its key in the input, the kind of its value, and its default.

    `word` names the kind. `repeats`: a list, one value for each option. `is_flag`: yes or no.
    """

    key: str
    annotation: Any
    word: str
    description: str = ""
    default_text: str = ""
    is_required: bool = False
    repeats: bool = False
    is_flag: bool = False

    def value_of(self, given: Any) -> Any:
        """Return the text as a JSON value; a wrong text unchanged, so that the submit names it."""
        if self.is_flag:
            return given
        if self.repeats:
            item = _item_of(_bare(self.annotation))
            whole = _whole_list(given, self.annotation)
            return whole if whole is not None else [_converted(one, item) for one in given]
        return _converted(given, self.annotation)


def fields_of(task_type: TaskType) -> list[Field]:
    """The fields of the input model; none if the input is not a model."""
    if task_type.model is None:
        return []
    return [_field(name, info) for name, info in task_type.model.model_fields.items()]


def _field(name: str, info: FieldInfo) -> Field:
    bare = _bare(info.annotation)
    item = _item_of(bare)
    return Field(
        key=_key(name, info),
        annotation=info.annotation,
        word=_word(bare if item is None else item),
        description=printable(info.description or ""),
        default_text=_default_text(info),
        is_required=info.is_required(),
        repeats=item is not None,
        is_flag=bare is bool,
    )


def _key(name: str, info: FieldInfo) -> str:
    """The name of the field in the input."""
    alias = info.validation_alias or info.alias
    return alias if isinstance(alias, str) else name


def _default_text(info: FieldInfo) -> str:
    if info.default_factory is not None:
        return "made anew"
    if info.default is PydanticUndefined or info.default is None:
        return ""
    default = info.default.value if isinstance(info.default, Enum) else info.default
    if isinstance(default, list | tuple | set | frozenset):
        return printable(", ".join(str(one) for one in default))
    return printable(str(default))


def _bare(annotation: Any) -> Any:
    """The annotation without Annotated and without None."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        kept = [one for one in get_args(annotation) if one is not type(None)]
        return _bare(kept[0]) if len(kept) == 1 else annotation
    return annotation


def _item_of(bare: Any) -> Any | None:
    """Return the type of the items of a list, set or tuple of one kind; None for any other type."""
    origin, arguments = get_origin(bare), get_args(bare)
    if bare in {list, set, frozenset, tuple}:
        return Any
    if origin in {list, set, frozenset, Sequence, Iterable}:
        return arguments[0]
    is_uniform = origin is tuple and len(arguments) == 2 and arguments[1] is ...  # noqa: PLR2004
    return arguments[0] if is_uniform else None


def _word(annotation: Any) -> str:
    bare = _bare(annotation)
    choices = _choices(bare)
    if choices:
        return "|".join(choices)
    if get_origin(bare) in {Union, types.UnionType}:
        words = dict.fromkeys(_word(one) for one in get_args(bare) if one is not type(None))
        return " or ".join(words)
    if isinstance(bare, type):
        return next((word for kind, word in _WORDS if issubclass(bare, kind)), "JSON")
    return "JSON"


def _choices(bare: Any) -> list[str]:
    if get_origin(bare) is Literal:
        return [str(one) for one in get_args(bare)]
    if isinstance(bare, type) and issubclass(bare, Enum):
        return [str(one.value) for one in bare]
    return []


def _converted(text: str, annotation: Any) -> Any:
    """Return the text, or the value of its JSON, whichever the annotation accepts."""
    readings = _readings(text, _word(annotation))
    try:
        adapter = TypeAdapter(annotation)
    except Exception:  # noqa: BLE001 - a model may name types that only it can resolve
        return readings[0]
    return next((one for one in readings if _fits(adapter, one)), readings[0])


def _readings(text: str, word: str) -> list[Any]:
    try:
        as_json = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    return [as_json, text] if "JSON" in word else [text, as_json]


def _fits(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def _whole_list(given: list[str], annotation: Any) -> list[Any] | None:
    """Return the list of a single option that contains it as JSON."""
    if len(given) != 1 or not given[0].lstrip().startswith("["):
        return None
    try:
        found = json.loads(given[0])
    except (ValueError, RecursionError):
        return None
    fits = isinstance(found, list) and _fits(TypeAdapter(annotation), found)
    return found if fits else None
