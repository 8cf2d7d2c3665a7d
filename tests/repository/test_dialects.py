"""Code asks the dialect of the store what a database can do, and compares no name of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = {"postgresql", "sqlite"}
ENGINE = ROOT / "taskdb" / "taskdb" / "store" / "engine"
# It reads the URL of a database before there is a dialect.
FREE = ("store/doctor/disk.py",)
IN_THE_STORE = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("taskdb/taskdb/store", "beat/taskdb_beat", "worker/taskdb_worker")
    for path in (ROOT / folder).rglob("*.py")
    if ENGINE not in path.parents
)
EVERYWHERE = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("taskdb/taskdb", "beat/taskdb_beat", "worker/taskdb_worker")
    for path in (ROOT / folder).rglob("*.py")
    if ENGINE not in path.parents
)


def test_no_module_of_the_store_outside_the_engine_names_a_database() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path in IN_THE_STORE
        if not path.endswith(FREE)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Constant) and node.value in NAMES
    ]
    assert found == [], (
        "ask the dialect (store/engine/dialect.py), or give a section of an SQL file"
    )


def test_nothing_outside_the_engine_compares_the_name_of_a_dialect() -> None:
    found = [f"{path}:{line}" for path in EVERYWHERE for line in _comparisons(_tree(path))]
    assert found == [], "ask the dialect for a capability"


@pytest.mark.parametrize(
    "text", ["a.dialect.name == 'x'", "dialect.name != y", "'x' in d.dialect.name"]
)
def test_a_comparison_of_a_name_is_found(text: str) -> None:
    assert list(_comparisons(ast.parse(text))) == [1]


def _comparisons(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            compared = (ast.unparse(one) for one in (node.left, *node.comparators))
            if any(one.endswith("dialect.name") for one in compared):
                yield node.lineno


def _tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())
