"""Alembic's entry point; `ledger.schema` hands over the open connection."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
)
with context.begin_transaction():
    context.run_migrations()
