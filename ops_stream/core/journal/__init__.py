"""The journal: records, their proofs, and the fold that is the state."""
