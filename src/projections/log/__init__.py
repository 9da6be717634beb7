"""The transparency log: a Merkle tree over all events, with signed checkpoints and proofs."""
