"""The demo: a real agent's recorded day under supervision, on a real broker."""
