"""Events are appended by a function, which finds their positions."""

from ledger.migrations import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql(__file__)
