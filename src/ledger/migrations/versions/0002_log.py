"""What the transparency log cannot derive anew: its keys and all that it ever signed."""

from ledger.migrations import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql(__file__)
