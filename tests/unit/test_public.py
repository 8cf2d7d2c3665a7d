"""The public list: each name is where it says, and costs nothing before it is used."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import taskdb
from taskdb import TaskDB

VERBS = [
    name
    for name in taskdb.__all__
    if getattr(getattr(taskdb, name), "__module__", "") == "taskdb.client.functions"
]
_MEASURED = """
import resource
{statement}
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled modules, as an installation has them."""
    return tmp_path_factory.mktemp("compiled")


def in_new_process(code: str, cache: Path) -> str:
    environment = {"PYTHONPYCACHEPREFIX": str(cache), "PATH": ""}
    started = [sys.executable, "-c", code]
    return subprocess.run(
        started, capture_output=True, check=True, text=True, env=environment
    ).stdout


def test_the_list_is_short_and_names_what_type_checkers_see() -> None:
    tree = ast.parse(Path(inspect.getfile(taskdb)).read_text())
    [checked] = [one for one in tree.body if isinstance(one, ast.If)]
    imported = {
        (alias.asname, one.module)
        for one in checked.body
        if isinstance(one, ast.ImportFrom)
        for alias in one.names
    }
    assert imported == set(taskdb._HOME_OF.items())
    assert len(taskdb.__all__) == len(set(taskdb.__all__)) <= 70
    assert set(taskdb.__all__) <= set(dir(taskdb))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = taskdb.no_such_name  # type: ignore[attr-defined]


def test_twelve_verbs_have_a_function_and_a_twin_like_their_method() -> None:
    assert len(VERBS) == 24
    for name in VERBS:
        function, method = getattr(taskdb, name), getattr(TaskDB, name)
        parameters = list(inspect.signature(method).parameters.values())[1:]
        assert list(inspect.signature(function).parameters.values()) == parameters
        assert get_type_hints(function) == get_type_hints(method)
        assert (function.__name__, function.__doc__) == (name, method.__doc__)
        assert inspect.iscoroutinefunction(function) == name.endswith("_async")
        assert function.__doc__


def test_the_import_loads_no_database_and_no_broker(cache: Path) -> None:
    code = "import sys, taskdb; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(in_new_process(code, cache).split())
    assert not loaded & {"sqlalchemy", "alembic", "celery", "kombu", "redis", "pydantic", "rich"}
    declaring = code.replace("taskdb;", "taskdb; from taskdb import TaskContext, task;")
    loaded = set(in_new_process(declaring, cache).split())
    assert not loaded & {"sqlalchemy", "alembic", "celery", "kombu", "redis", "rich", "structlog"}


@pytest.mark.parametrize("statement", ["import taskdb", "from taskdb import TaskContext, task"])
def test_the_import_takes_at_most_twice_the_time_of_celerys(cache: Path, statement: str) -> None:
    def seconds(measured: str) -> float:
        code = _MEASURED.format(statement=measured)
        # The first run compiles, and the machine may be busy in any of the others.
        return min(float(in_new_process(code, cache)) for _ in range(3))

    assert seconds(statement) <= 2 * seconds("from celery import Celery")
