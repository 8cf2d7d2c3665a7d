"""Cases that a test walks one after another, with one set-up for all of them."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

from taskdb.store.engine.migrations.migrate import empty

Test = Callable[..., None]
Decorator = Callable[[Test], Test]


def each(
    names: str,
    values: Iterable[Any],
    ids: Iterable[object] | Callable[..., object] | None = None,
    *,
    alone: bool = False,
) -> Decorator:
    """Call the test once for each value: as `parametrize` does, but with the same fixtures.

    A case finds the rows of those before it, unless it is `alone`: then every row of the fixture
    `store` or `taskdb` is deleted before it. An error names its case.
    """
    keys = [name.strip() for name in names.split(",")]
    cases = [tuple(value) if len(keys) > 1 else (value,) for value in values]
    labels = _labels(keys, cases, ids)

    def walk_cases(test: Test) -> Test:
        signature = inspect.signature(test)

        @wraps(test)
        def walk(**given: Any) -> None:
            for one, label in zip(cases, labels, strict=True):
                if alone:
                    _delete_rows(given)
                try:
                    test(**given, **dict(zip(keys, one, strict=True)))
                except Exception as error:
                    error.add_note(f"in the case {label}")
                    raise

        left = [one for name, one in signature.parameters.items() if name not in keys]
        walk.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return walk

    return walk_cases


def _labels(
    keys: Sequence[str],
    cases: Sequence[tuple[Any, ...]],
    ids: Iterable[object] | Callable[..., object] | None,
) -> list[object]:
    if callable(ids):
        return [ids(*one) for one in cases]
    if ids is not None:
        return list(ids)
    return [", ".join(f"{k}={v!r:.200}" for k, v in zip(keys, one, strict=True)) for one in cases]


def _delete_rows(given: Mapping[str, Any]) -> None:
    store = given["store"] if "store" in given else given["taskdb"].store
    with store.database.transaction() as connection:
        empty(connection)
