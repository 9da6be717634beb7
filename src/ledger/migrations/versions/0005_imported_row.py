"""Rows of imports are kept beside the other rows of their booking."""

from ledger.migrations import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_sql(__file__)
