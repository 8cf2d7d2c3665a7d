"""Alembic's entry: runs the migrations on the connection that `migrate` passes."""

from alembic import context

from taskdb.store.engine.migrations.revision import VERSION_TABLE
from taskdb.store.engine.migrations.steps import SteppedConnection

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    version_table=VERSION_TABLE,
    transactional_ddl=False if isinstance(connection, SteppedConnection) else None,
)
with context.begin_transaction():
    context.run_migrations()
