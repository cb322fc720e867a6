"""The read model: what the journal says, in Redis, for whoever only looks."""
