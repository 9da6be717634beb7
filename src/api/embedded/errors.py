from ledger.errors import LedgerError


class EmbeddedPostgresError(LedgerError):
    """The embedded database cannot be used; the message says why and what to do."""
