"""Alembic's entry: runs the migrations on the connection that `Records` opened, inside its transaction."""

from alembic import context

from prosopon.deployments.state.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
