"""Alembic's entry: runs the migrations on the connection that `migrate` hands over."""

from typing import Any

from alembic import context

from taskdb.store.migration_steps import SteppedConnection
from taskdb.store.revision import VERSION_TABLE

connection = context.config.attributes["connection"]
is_stepped = isinstance(connection, SteppedConnection)


def arrived(step: Any, **_: Any) -> None:
    """The database is at the next revision."""
    if is_stepped:
        connection.arrive(str(step.up_revision_id))


callback: Any = arrived
context.configure(
    connection=connection,
    version_table=VERSION_TABLE,
    transactional_ddl=False if is_stepped else None,
    on_version_apply=callback,
)
with context.begin_transaction():
    context.run_migrations()
