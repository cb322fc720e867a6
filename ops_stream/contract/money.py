"""Money: US dollars on the wire, whole micro-dollars inside, no float arithmetic in between."""

from decimal import ROUND_CEILING, Context, Decimal
from typing import Final

MICROS_PER_USD: Final = 1_000_000
MAX_USD: Final = 1_000_000
"""The largest single amount that an input may name."""
MAX_TOTAL_USD: Final = 1_000_000_000
"""The largest sum that an output may name: still exact as a JSON number read into a double."""

_MICRO: Final = Decimal("0.000001")
_CONTEXT: Final = Context(prec=40, rounding=ROUND_CEILING)


def parse_usd(number: int | float | Decimal, *, limit_usd: int = MAX_USD) -> int:
    """Turn a JSON number of dollars into micro-dollars; what is finer than a micro-dollar rounds up.

    Raises ValueError for everything that is not a number from 0 to `limit_usd`. The size is looked at
    before any arithmetic: a careless conversion of 1e1000000 keeps a processor busy for half a minute.
    A float counts as the shortest decimal that reads back as it, which is what JSON writes.
    """
    kind = type(number)
    if kind is int:
        if not 0 <= number <= limit_usd:
            raise ValueError(_range(limit_usd))
        return int(number) * MICROS_PER_USD
    if kind is float:
        amount = Decimal(repr(number))
    elif kind is Decimal:
        amount = number  # type: ignore[assignment]
    else:
        raise ValueError(f"money is a JSON number of US dollars, not {kind.__name__}")
    if not amount.is_finite():
        raise ValueError("money is a finite number of US dollars")
    if not amount:
        return 0
    if amount.is_signed() or amount.adjusted() >= len(str(limit_usd)):
        raise ValueError(_range(limit_usd))
    micros = int(amount.quantize(_MICRO, context=_CONTEXT).scaleb(6, context=_CONTEXT))
    if micros > limit_usd * MICROS_PER_USD:
        raise ValueError(_range(limit_usd))
    return micros


def usd(micros: int) -> int | float:
    """Give micro-dollars as the JSON number of dollars that `parse_usd` reads back exactly."""
    dollars, rest = divmod(micros, MICROS_PER_USD)
    return micros / MICROS_PER_USD if rest else dollars


def _range(limit_usd: int) -> str:
    return f"money is 0 to {limit_usd:,} US dollars"
