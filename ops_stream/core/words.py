"""Amounts and names in sentences for people."""

from __future__ import annotations

from typing import Final

TEXT_MAX: Final = 4_000


def dollars(micros: int) -> str:
    """Write an amount: two places where that is exact, else up to six."""
    whole, rest = divmod(micros, 1_000_000)
    digits = f"{rest:06d}".rstrip("0")
    return f"{whole}.{digits:0<2} USD"


def because(reason: str | None) -> str:
    """Add a person's words to a sentence."""
    return f": {clip(reason, 1_000)}" if reason else "."


def clip(text: str, limit: int = TEXT_MAX) -> str:
    """Cut a text that is too long for where it goes."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
