"""The pages of the Python API, made of signatures and docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import taskdb
from taskdb.client.criteria import Criteria
from taskdb.client.submission.options import SubmitOptions
from taskdb.settings.settings import Settings

_WIDTH = 88
_THEME = re.compile(r"    # (.+)\.\n|    \"taskdb\.[\w.]+\": \(([^)]*)\)")
_NOT_CALLED = {"Settings", "TaskContext", "TaskPage"}
"""Classes that no user makes by their constructor."""
_ELSEWHERE = {
    "Settings": "Every setting is in [Settings](settings.md).",
    "TaskDBError": "Every error is in [Errors](errors.md).",
}


def public_names() -> str:
    """Every name of `taskdb`, under the themes of its list."""
    lines: list[str] = []
    for theme, names in themes():
        lines += ["", f"## {theme.partition(';')[0]}"]
        if "submit_task" in names:
            for kind in (SubmitOptions, Criteria):
                lines += _entry(kind.__name__, _keys(kind), inspect.getdoc(kind))
        for name in names:
            lines += _public(name, names)
    return "\n".join(lines)


def themes() -> Iterator[tuple[str, list[str]]]:
    """The comments of the public list, each with the names below it."""
    source = Path(taskdb.__file__ or "").read_text().partition("_HOMES = {")[2]
    theme, names = "", []
    for match in _THEME.finditer(source):
        if match[1]:
            if names:
                yield theme, names
            theme, names = match[1], []
        else:
            names += re.findall(r"\"(\w+)\"", match[2])
    yield theme, names


def client_parts() -> str:
    """The parts of a client, each with its methods."""
    client = taskdb.TaskDB(Settings.load({}))
    lines: list[str] = []
    for name, part in vars(client).items():
        if not name.startswith("_") and type(part).__module__.startswith("taskdb.client."):
            lines += ["", f"## taskdb.{name}", "", _prose(inspect.getdoc(type(part)))]
            for method, function in _methods(type(part)):
                lines += _entry(f"{name}.{method}", _signed(method, function), _doc(function))
    return "\n".join(lines)


def _public(name: str, names: list[str]) -> list[str]:
    thing = getattr(taskdb, name)
    if name.endswith("_async") and name.removesuffix("_async") in names:
        return []
    is_error = inspect.isclass(thing) and issubclass(thing, taskdb.TaskDBError)
    code = "" if is_error or name in _NOT_CALLED else _signed(name, thing)
    lines = _entry(name, code, _doc(thing))
    if f"{name}_async" in names:
        lines += ["", f"For coroutines: `{name}_async`, with the same arguments."]
    if name in _ELSEWHERE:
        lines += ["", _ELSEWHERE[name]]
    elif inspect.isclass(thing) and not is_error:
        lines += _members(thing)
    return lines


def _entry(name: str, code: str, doc: str | None) -> list[str]:
    block = ["", "```py", code, "```"] if code else []
    return ["", f"### {name}", *block, *(["", _prose(doc)] if doc else [])]


def _members(kind: type) -> list[str]:
    """The documented attributes, values and methods of a class, one line each."""
    verbs = set(taskdb.__all__) if kind is taskdb.TaskDB else set()
    lines = [f"- `{name}`: {meaning}" for name, meaning in _attributes(kind)]
    for name, function in _methods(kind):
        if name not in verbs and not name.endswith("_async"):
            lines.append(f"- `{_short(name, function)}`: {_prose(_doc(function))}")
    return ["", *(" ".join(line.split()) for line in lines)] if lines else []


def _attributes(kind: type) -> Iterator[tuple[str, str]]:
    """The attributes that have a text below them."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - what getsource returns for a class
    for node, after in zip(body.body, body.body[1:], strict=False):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(target, ast.Name) and is_text and not target.id.startswith("_"):
            yield target.id, _prose(inspect.cleandoc(str(after.value.value)))  # type: ignore[attr-defined]


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(kind).items():
        function = value.fget if isinstance(value, property) else value
        function = getattr(function, "func", getattr(function, "__func__", function))
        if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
            yield name, value


def _short(name: str, value: Any) -> str:
    if isinstance(value, property) or not callable(getattr(value, "__func__", value)):
        return name
    return f"{name}({', '.join(_parameters(getattr(value, '__func__', value)))})"


def _signed(name: str, thing: Callable[..., Any]) -> str:
    """`name(parameters) -> result`, a parameter a line where it is long."""
    if inspect.isclass(thing) and issubclass(thing, taskdb.TaskStatus | taskdb.TaskKind):
        return "\n".join(f"{name}.{one.name}" for one in thing)
    if isinstance(thing, property):
        return name
    function = getattr(thing, "__func__", thing)
    returned = inspect.signature(function).return_annotation
    is_shown = not inspect.isclass(thing) and returned is not inspect.Signature.empty
    end = f" -> {_type(returned)}" if is_shown else ""
    parameters = _parameters(function)
    line = f"{name}({', '.join(parameters)}){end}"
    if len(line) <= _WIDTH:
        return line
    inner = "".join(f"    {one},\n" for one in parameters)
    return f"{name}(\n{inner}){end}"


def _parameters(function: Callable[..., Any]) -> list[str]:
    """The parameters as text; a bare `*` before those by keyword."""
    parts: list[str] = []
    for one in inspect.signature(function).parameters.values():
        if one.name in {"self", "cls"}:
            continue
        is_first = not any(part.startswith("*") for part in parts)
        if one.kind is inspect.Parameter.KEYWORD_ONLY and is_first:
            parts.append("*")
        star = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        text = star + one.name
        if one.annotation is not inspect.Parameter.empty:
            text += f": {_type(one.annotation)}"
        if one.default is not inspect.Parameter.empty:
            text += f" = {_value(one.default)}"
        parts.append(text)
    return parts


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"Unpack\[(\w+)\]", r"\1", re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", text))


def _value(default: Any) -> str:
    """A default as one would write it; `...` for a value that has no such text."""
    if isinstance(default, type):
        return default.__name__
    if isinstance(default, tuple):
        inner = ", ".join(_value(one) for one in default)
        return f"({inner},)" if len(default) == 1 else f"({inner})"
    text = repr(default)
    return "..." if text.startswith("<") else text.removeprefix("datetime.")


def _keys(kind: Any) -> str:
    """The keys of a typed dictionary, with the types that the source gives them."""
    nodes = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(kind))))
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, ast.AnnAssign))


def _doc(thing: Any) -> str:
    return inspect.getdoc(getattr(thing, "__func__", thing)) or ""


def _prose(doc: str | None) -> str:
    """A docstring as Markdown."""
    return re.sub(r"``([^`]+)``", r"`\1`", doc or "").replace("::\n", ":\n")
