"""How alembic reaches the database: through the connection, and in the transaction, that the service hands it.

There is no second way to connect: SQLite's locks hold within one copy of its library, and the service brings its own.
"""

from __future__ import annotations

from alembic import context

from zooproxy.cache.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
