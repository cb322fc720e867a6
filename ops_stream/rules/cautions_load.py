"""What is valid in `load.yaml` and may still surprise: limits that bind nothing, or leave somebody nothing."""

from collections.abc import Iterator
from typing import Final

from ops_stream.contract.settings import Settings
from ops_stream.core.rules_load import ANY, BatchWindow, Load, ProviderLimits
from ops_stream.core.rules_routing import Routing
from ops_stream.rules.conf_load import DAY_MINUTES
from ops_stream.rules.problems import did_you_mean

NOTED_MAX: Final = 50
"""Sentences at most; a file of thousands of tenants could fill a screen for hours."""
PARTITIONS: Final = int(Settings.model_fields["partitions"].default)
"""How many a cluster has where nobody says otherwise: files do not know."""
_DAYS: Final = 7


def strained(load: Load, routing: Routing, *, waiting_max: int, batch_window_s: int) -> list[str]:
    """Give a sentence for whatever may surprise; the two settings are those of supervisor.yaml."""
    found: list[str] = []
    for note in _notes(load, routing, waiting_max, batch_window_s):
        if len(found) == NOTED_MAX:
            found.append("There is more to note about load.yaml.")
            break
        found.append(note)
    return found


def _notes(load: Load, routing: Routing, waiting_max: int, batch_window_s: int) -> Iterator[str]:
    known = {card.provider for card in routing.cards.values() if card.provider}
    for name, provider in load.providers.items():
        if name not in known:
            hint = did_you_mean(name, known) if known else ""
            yield f"No model of models.yaml is of the provider '{name}': its limits bind nothing. {hint}".rstrip()
        yield from _without_part(name, provider)
    if load.limited and load.queue_max > waiting_max:
        yield (
            f"'queue_max' ({load.queue_max}) is never reached: supervisor.yaml lets {waiting_max} asks of a tenant "
            "wait ('waiting_max') and then denies whoever comes, be it the most urgent."
        )
    for tenant, windows in load.batch.windows.items():
        yield from _windows(tenant, windows, batch_window_s)


def _without_part(name: str, provider: ProviderLimits) -> Iterator[str]:
    """Note whose part of a provider's limits comes to nothing."""
    limits, shares = provider.limits, provider.shares
    if ANY not in shares:
        yield f"Only the tenants named in 'shares' have a part of '{name}'; give '*' one if others use it."
    for what, whole in (("concurrency", limits.concurrency), ("rate_per_minute", limits.rate_per_minute)):
        if whole is None:
            continue
        for tenant, share in shares.items():
            part = provider.part(tenant, whole)
            if tenant != ANY and not (part if what == "concurrency" else share):  # a rate only becomes slow
                yield (
                    f"The part that tenant {tenant} has of the {what} of '{name}' comes to 0 ({share} of "
                    f"{provider.all_shares} shares of {whole}): nothing of its asks may ever run there."
                )
            elif tenant == ANY and share and what == "concurrency" and part < PARTITIONS:
                yield (
                    f"The part of '*' of the {what} of '{name}' is {part}, less than one for each of {PARTITIONS} "
                    "partitions, among which it is divided: on some nothing of the tenants that are not named may "
                    "ever run there."
                )


def _windows(tenant: str, windows: tuple[BatchWindow, ...], batch_window_s: int) -> Iterator[str]:
    """Note windows that are no windows, and those that are over before the queue is looked at once more."""
    whose = "The batch windows" if tenant == ANY else f"The batch windows of tenant {tenant}"
    open_minutes = sum(_length(window) * len(window.days) for window in windows)
    if any(_length(window) == DAY_MINUTES and len(window.days) == _DAYS for window in windows):
        yield f"{whose} are open all the time: leave them out."
    elif windows and all(_length(window) * 60 <= batch_window_s for window in windows):
        yield (
            f"{whose} are no longer than 'batch_window_s' of supervisor.yaml ({batch_window_s} s): what is queued "
            "while one is open does not fit into it any more, and waits for the next."
        )
    elif 0 < open_minutes < 60:
        yield f"{whose} are open for {open_minutes} minutes a week: asks wait for days, and all come at once."


def _length(window: BatchWindow) -> int:
    """Give how many minutes a window is open, where no clock is changed."""
    length = window.to_minute - window.from_minute
    return length if length > 0 else length + DAY_MINUTES
