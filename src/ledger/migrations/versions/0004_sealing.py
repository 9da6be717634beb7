"""The keys under which the personal parts of events are sealed."""

from ledger.migrations import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql(__file__)
