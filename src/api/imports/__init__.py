"""Take another system's status history into the ledger."""
