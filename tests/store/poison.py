"""Rows that cannot be worked on: a trigger of a user's own refuses every change of them."""

from taskdb.store.engine.aside import SetAside
from taskdb.store.store import Store
from tests.store.tasks import write

POISON = "poison"
"""The name of a task that the trigger refuses."""


def refuse(store: Store, when: str = "OLD.name = 'poison'", table: str = "taskdb_task",
           verb: str = "UPDATE", state: str = "P0001", words: str = "") -> None:  # fmt: skip
    """From now on a change of these rows is an error."""
    said = words or f"this {table.removeprefix('taskdb_')} is refused"
    row = "OLD" if verb == "DELETE" else "NEW"
    if store.database.dialect.name == "postgresql":
        write(
            store,
            f"CREATE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION '{said}' USING ERRCODE = '{state}'; RETURN {row}; END $$",
        )
        write(
            store,
            f"CREATE TRIGGER refuses BEFORE {verb} ON {table} FOR EACH ROW WHEN ({when})"
            f" EXECUTE FUNCTION refuse_{table}()",
        )
    else:
        write(
            store,
            f"CREATE TRIGGER refuses_{table} BEFORE {verb} ON {table} WHEN {when}"
            f" BEGIN SELECT RAISE(ABORT, '{said}'); END",
        )


def allow(store: Store, table: str = "taskdb_task") -> None:
    """The trigger goes."""
    on = (
        f"refuses ON {table}" if store.database.dialect.name == "postgresql" else f"refuses_{table}"
    )
    write(store, f"DROP TRIGGER {on}")


def set_aside(store: Store) -> list[SetAside]:
    return store.aside.listed(100)


def aside(store: Store) -> set[tuple[str, str]]:
    """Loop and key of what is set aside."""
    return {(one.loop, one.key) for one in set_aside(store)}


def let_be_due(store: Store) -> None:
    """The next try of everything that is set aside has been due for a while."""
    store.aside.try_now()
