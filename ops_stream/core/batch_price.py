"""What an ask costs that the batch queue lets out: a share of what it costs otherwise."""

from __future__ import annotations

from ops_stream.core.rules_model import Rules


def percent_of(rules: Rules, model: str) -> int:
    """Give the batch price of a model in hundredths of its price; that of all models where its own is not known."""
    for_all = rules.load.batch.price_percent
    if for_all is None:
        return 100
    card = rules.routing.cards.get(model)
    return for_all if card is None or card.batch_percent is None else card.batch_percent


def at_batch_price(rules: Rules, model: str, amount: int) -> int:
    """Give what is left of an amount at the batch price of a model, rounded up."""
    return -(-amount * percent_of(rules, model) // 100)


def priced_for_batch(rules: Rules) -> bool:
    """Say whether there is a batch price at all."""
    return rules.load.batch.price_percent is not None
