"""Who is logged in to the web pages, and links that log in once."""

from ledger.migrations import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_sql(__file__)
