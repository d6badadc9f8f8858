"""What Flask-Migrate generates, cut down to one connection that the caller brings along."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
