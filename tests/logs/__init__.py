"""Tests of what processes say: every line safe, whole, and without secrets."""
