"""The event store, with what is kept in the transaction of an event."""

from ledger.migrations import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql(__file__)
