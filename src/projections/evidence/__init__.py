"""Evidence: one file with a booking's events and the proofs that they are in the log."""
