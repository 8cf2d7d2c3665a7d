"""Private parts of other libraries that this package uses: all are known, and all are there.

A library may take one away in any release. Then this fails first, with what to do, and not a
worker: the versions are bounded in `pyproject.toml`, and `TASKDB_REDIS_TRANSPORT=kombu` and
`TASKDB_WORKER_PREFORK=celery` return to the stock parts.
"""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = ("taskdb", "worker", "beat")
LIBRARIES = (
    *("celery", "kombu", "billiard", "redis", "amqp", "vine"),
    *("sqlalchemy", "alembic", "psycopg", "psycopg_pool", "django"),
)
PRIVATE = {
    "kombu.transport.virtual.base:QoS": "_delivered _flush",
    "kombu.transport.virtual.base:Channel": (
        "_get _get_message_priority _has_queue _lookup _new_queue _purge _put _queue_bind _size"
    ),
    "kombu.transport.virtual.base:Transport": "_deliver",
    "kombu.transport.redis:QoS": "_delivered",
    "kombu.transport.redis:Channel": (
        "_basic_cancel _brpop_read _brpop_sent_at _brpop_start _connparams _create_client"
        " _flush_brpop_reauth _in_poll _q_for_pri _queue_cycle"
    ),
    "kombu.transport.redis:MultiChannelPoller": "_channels",
    "kombu.connection:Connection": "_connection _reraise_as_library_errors",
    "celery.app.defaults": "_TO_NEW_KEY",
    "celery.app.base:Celery": "_conf _tasks",
    "celery.app.utils:Settings": "_abc_impl",
    "celery.local:Proxy": "_get_current_object",
    "celery.schedules:crontab": "_orig_",
    "celery.backends.base:Backend": ("_cache _forget _get_task_meta_for _save_group _store_result"),
    "kombu.message:Message": "_decoded_cache",
    "celery.worker.request:Request": "_already_revoked _context _request_dict",
    "celery.concurrency.asynpool": "_get_job_writer",
    "celery.concurrency.asynpool:AsynPool": (
        "_active_writers _busy_workers _cache _create_write_handlers _flush_writer _payload"
        " _quick_put _state _write_to"
    ),
    "billiard.pool:ApplyResult": "_accepted",
    "billiard.process:BaseProcess": "_is_alive",
    "sqlalchemy.pool:QueuePool": "_max_overflow",
    "sqlalchemy.pool.base:_ConnectionFairy": "_pool",
    "psycopg._connection_base:BaseConnection": "_prepared",
    "psycopg._preparing:PrepareManager": "_prepared_idx",
    "django.db.transaction:Atomic": "_from_testcase",
    "django.db.models:Model": "_default_manager",
    "django.contrib.admin:ModelAdmin": "_get_obj_does_not_exist_redirect",
    "importlib": "_bootstrap",
    "importlib._bootstrap": "_module_locks",
    "os": "_exit",
}
"""Where each lives: a module, or a class in one."""
OURS = {"_celery_app", "_complete_alone", "_compose", "_connections", "_is_owner", "_last"}
"""Of our own objects, where another of ours looks at them."""
NAMES = {name for names in PRIVATE.values() for name in names.split()}


class Use(NamedTuple):
    """A private name in our code, and where."""

    name: str
    place: str


@pytest.mark.parametrize(
    ("where", "name"), [(where, name) for where, names in PRIVATE.items() for name in names.split()]
)
def test_a_private_part_is_there(where: str, name: str) -> None:
    module, _, kind = where.partition(":")
    home: Any = importlib.import_module(module)
    home = getattr(home, kind) if kind else home
    places = [use.place for use in all_uses() if use.name == name]
    library = module.partition(".")[0]
    assert hasattr(home, name) or re.search(_pattern(name), _source(home)), (
        f"{where} has no {name!r} any more ({library} {_version(library)}), which is used at "
        f"{', '.join(places)}. Bound {library} in pyproject.toml below this version, or adapt them"
    )
    assert places, f"{name!r} of {where} is not used any more: take it from the list"


def test_every_private_part_that_is_used_is_in_the_list() -> None:
    strange = [use for use in all_uses() if use.name not in NAMES | OURS]
    assert not strange, f"add these to PRIVATE, with where they live: {strange}"


@pytest.mark.parametrize("library", ["celery", "kombu", "billiard", "redis"])
def test_a_library_whose_private_parts_are_used_is_bounded_below_its_next_minor(
    library: str,
) -> None:
    known = [Requirement(one) for one in requires("celery-taskdb") or ()]
    major, minor, *_ = version(library).split(".")
    bounds = [one.specifier for one in known if one.name == library and one.specifier]
    assert bounds
    for bound in bounds:
        assert version(library) in bound and f"{major}.{int(minor) + 1}" not in bound


# --- what our code uses ---------------------------------------------------------------------------


@cache
def all_uses() -> tuple[Use, ...]:
    files = [path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]
    trees = {path: ast.parse(path.read_text()) for path in files}
    own = {name for tree in trees.values() for name in _made(tree)}
    return tuple(use for path, tree in trees.items() for use in _uses(path, tree, own))


def _uses(path: Path, tree: ast.Module, own: set[str]) -> Iterator[Use]:
    """Imports and lookups of private names, and what a class shares with a library's above it."""
    place = str(path.relative_to(ROOT))
    for node in ast.walk(tree):
        line = f"{place}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom) and _is_of_a_library(node.module or ""):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.Attribute) and not _is_own(node.value):
            # A linter has each marked, so that a name of ours is not mistaken for theirs.
            names = [node.attr]
        elif isinstance(node, ast.Attribute):
            names = [] if node.attr in own else [node.attr]
        elif isinstance(node, ast.Call):
            names = [] if _text(node) in own else [_text(node)]
        else:
            continue
        yield from (Use(name, line) for name in names if _is_private(name))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.bases:
            shared = _shared(path, node)
            yield from (Use(name, f"{place}:{node.lineno}") for name in shared)


def _shared(path: Path, node: ast.ClassDef) -> set[str]:
    """Private names of a class of ours that a library's class above it has as well."""
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    if {"contrib", "migrations"} & {*parts}:
        return set()
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    kind = getattr(module, node.name)
    above = [one for one in kind.__mro__ if _is_of_a_library(one.__module__)]
    ours = [one for one in kind.__mro__ if one.__module__.startswith("taskdb")]
    names = {name for one in ours for name in vars(one)} | {
        one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute) and _is_own(one.value)
    }
    text = "".join(_source(one) for one in above)
    return {
        name
        for name in names
        if _is_private(name)
        and (any(name in vars(one) for one in above) or re.search(rf"\bself\.{name}\b", text))
    }


def _made(tree: ast.Module) -> Iterator[str]:
    """Names that our code gives."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and _is_stored(node):
            yield node.attr


def _is_stored(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store) and _is_own(node.value)


def _is_own(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in {"self", "cls"}


def _text(node: ast.Call) -> str:
    """The name that a `getattr` or `hasattr` asks for."""
    function = getattr(node.func, "id", "")
    if function not in {"getattr", "hasattr", "setattr"} or len(node.args) < len(("of", "name")):
        return ""
    name = node.args[1]
    if isinstance(name, ast.JoinedStr) and name.values:
        name = name.values[0]
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else ""


def _pattern(name: str) -> str:
    """The whole name; one that ends in a bar is the beginning of several."""
    return rf"\b{name}" if name.endswith("_") else rf"\b{name}\b"


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _is_of_a_library(module: str) -> bool:
    return module.partition(".")[0] in LIBRARIES


@cache
def _source(home: Any) -> str:
    try:
        return inspect.getsource(home)
    except (OSError, TypeError):
        return ""


def _version(library: str) -> str:
    return "" if library in sys.stdlib_module_names else version(library)
