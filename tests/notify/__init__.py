"""Webhooks, against real web servers and a real broker."""
