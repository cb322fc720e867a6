"""Scenario texts, the parser that reads them and the drivers that play them."""
