"""Keeps the autogenerate of an application's own Alembic away from our tables.

TaskDB migrates its tables itself (`taskdb migrate`). Names that begin with `taskdb_` are ours.
"""

from __future__ import annotations

from collections.abc import Mapping

_PREFIX = "taskdb_"


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:  # noqa: ARG001 - the signature is Alembic's
    """Exclude our tables: pass it to `context.configure(include_name=...)` in `env.py`.

    Returns False for a table of ours and for a partition of one, True for every other name.
    """
    return type_ != "table" or name is None or not name.startswith(_PREFIX)
