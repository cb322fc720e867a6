"""Circuits: a model, or a provider, that keeps failing or is slow is left for a while, and tried again bit by bit.

Every way between the states is in `TABLE`. Nothing waits for a Tick: that the time is over is found out by the ask that
may try it. A model has a row only while something that failed is among its latest reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import Telemetry
from ops_stream.contract.reasons import Reason
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.notices import alert
from ops_stream.core.retries_classes import classed
from ops_stream.core.rows import ASKS, CIRCUITS, Ask, Circuit, ask_key
from ops_stream.core.rows_learning import kept_name, part
from ops_stream.core.rows_routing import CircuitState
from ops_stream.core.rules_routing import ModelCard
from ops_stream.core.validation import model_of

Happening = Literal["failures", "trial", "trial_failed", "trials_well", "idle"]

TABLE: Final[Mapping[tuple[CircuitState, Happening], CircuitState]] = MappingProxyType(
    {
        ("closed", "failures"): "open",
        ("open", "trial"): "half_open",
        ("half_open", "trial_failed"): "open",
        ("half_open", "trials_well"): "closed",
        ("closed", "idle"): "closed",
        ("open", "idle"): "closed",
        ("half_open", "idle"): "closed",
    }
)
"""Every way between the states; docs/routing.md shows the same table."""
IDLE_MS: Final = 86_400_000
"""A circuit of which nothing was heard so long is forgotten, and closed with that."""
WINDOW_MAX: Final = 100
"""No window looks at more reports, whatever the rules say."""
NOT_ITS_FAULT: Final = frozenset(("bad_input", "policy"))
"""Classes of errors that say nothing of the model."""
LIMITED: Final = "rate_limit"
"""The class of errors that say nothing of a model but of its provider."""
EVERYBODY: Final = "default"
"""Alerts about circuits go to this tenant: a circuit is about all tenants of a partition."""
_SOURCE_LENGTH: Final = 8
_NOT_CLOSED: Final = b'"state":"'
"""What is in a row that is not closed: fields at their default are left out."""
_GOOD, _BAD, _LIMITED = "+", "-", "r"


def circuit_keys(card: ModelCard) -> tuple[str, ...]:
    """Give the keys of the circuits that a model is in: its own, and its provider's."""
    return _keys(card.name, card.provider)


@lru_cache(maxsize=4096)
def _keys(model: str, provider: str) -> tuple[str, ...]:
    own = f"circuit/model|{part(model)}"
    return (own, f"circuit/provider|{part(provider)}") if provider else (own,)


# What an ask sees of it


def left_until(draft: Draft, card: ModelCard) -> int | None:
    """Say until when a model is left (ms since 1970, at the earliest); None where it may be used, or tried."""
    until = None
    for key in circuit_keys(card):
        if not draft.touched(key):
            raw = draft.state.rows.get(key)
            if raw is None or _NOT_CLOSED not in raw:
                continue
        row = draft.get(CIRCUITS, key)
        if row is not None and not _lets_in(draft, row):
            until = max(until or 0, _open_until(draft, row), draft.now + 1)
    return until


def provider_left(draft: Draft, card: ModelCard) -> str:
    """Give the provider of a model that is left where it is left itself, with all of its models; else nothing."""
    row = draft.get(CIRCUITS, circuit_keys(card)[-1]) if card.provider else None
    return "" if row is None or _lets_in(draft, row) else card.provider


def tried(draft: Draft, ask: Ask) -> None:
    """An ask was let go that tries what was left: until it is over, no other may."""
    if not draft.state.counts["circuit/"]:
        return
    card = draft.rules.routing.cards.get(ask.model)
    if card is None or draft.rules.routing.mode == "off":
        return
    for key in circuit_keys(card):
        row = draft.get(CIRCUITS, key)
        if row is None or row.state == "closed" or not _lets_in(draft, row):
            continue
        row = replace(row, trial=ask_key(ask.tenant, ask.request_id))
        if row.state == "open":
            row = _moved(draft, row, "trial")
        _keep(draft, key, row)


def _lets_in(draft: Draft, row: Circuit) -> bool:
    if row.state == "closed":
        return True
    if row.state == "open":
        return draft.now >= _open_until(draft, row)
    trial = draft.get(ASKS, row.trial) if row.trial else None
    return trial is None or trial.phase != "running"


def _open_until(draft: Draft, row: Circuit) -> int:
    return row.since + draft.rules.routing.breaker.open_s * 1000


# What reports say


def heard(draft: Draft, ask: Ask, event: Telemetry) -> None:
    """Take in how an ask ended; `ask` is its row before that, `event` the report without what is not believed."""
    routing = draft.rules.routing
    if routing.mode == "off":
        return
    card = routing.cards.get(model_of(draft, ask, event))
    said = None if card is None else _says(draft, card, ask, event)
    if card is None or said is None:
        return
    keys = circuit_keys(card)
    if said == _GOOD and not [key for key in keys if draft.get(CIRCUITS, key)]:
        return  # as of nearly every report: where nothing has failed, nothing is counted
    agent, model, name = (
        _source(ask.tenant, ask.agent),
        _source(card.name),
        ask_key(ask.tenant, ask.request_id),
    )
    own, *providers = keys
    if said != _LIMITED or not providers:
        _count(draft, own, card.name, name, agent, _BAD if said == _LIMITED else said)
    for provider in providers:
        _count(draft, provider, card.provider, name, model + agent, said)


def _says(draft: Draft, card: ModelCard, ask: Ask, event: Telemetry) -> str | None:
    """Say whether a report is good for a model, bad, or bad for its provider alone; None where it says nothing."""
    if event.kind == "cancelled" or ask.answer.reason == Reason.KILL_REVOKED:
        return None
    if event.kind == "failed" or event.success is False:
        error = classed(draft, ask, event)
        if error in NOT_ITS_FAULT:
            return None
        return _LIMITED if error == LIMITED else _BAD
    latency, usual, slow = event.latency_ms, card.latency_ms, draft.rules.routing.breaker.slow_percent
    if latency is None or usual is None or not slow:
        return _GOOD
    return _GOOD if latency * 100 <= usual * slow else _BAD


def _count(draft: Draft, key: str, name: str, ask: str, source: str, said: str) -> None:
    row = draft.get(CIRCUITS, key)
    if row is None:
        if said == _GOOD:
            return
        row = Circuit(0, kept_name(name))
    if row.state == "closed":
        _counted(draft, key, name, row, source, said)
    elif row.state == "half_open" and row.trial == ask:
        _trial_over(draft, key, name, replace(row, trial=""), good=said == _GOOD)
    # Whatever else comes while it is left was begun before that, and is counted no more.


def _counted(draft: Draft, key: str, name: str, row: Circuit, source: str, said: str) -> None:
    breaker = draft.rules.routing.breaker
    window = max(1, min(breaker.window, WINDOW_MAX))
    last = (row.last + said)[-window:]
    row = replace(row, last=last, by=(*row.by, source)[-window:])
    if last.count(_GOOD) == len(last):
        draft.delete(key)
    elif _fails(key, row, max(1, min(breaker.failures, window))):
        row = _moved(draft, replace(row, last="", by=(), opened=draft.now), "failures")
        _keep(draft, key, row)
        _tell_open(draft, key, name, row, last)
    else:
        _keep(draft, key, row)


def _fails(key: str, row: Circuit, failures: int) -> bool:
    """Say whether it fails so often that it is left, and not only with one who uses it badly.

    No agent counts for more than half of the failures of a model, rounded up, unless nobody else has used it of late;
    no model for more than half of its provider's, which is left only where two of its models fail. What a provider
    refuses because it was asked too often counts by agents, as with a model, whichever models they used.
    """
    reports = list(zip(row.by, row.last, strict=True))
    if sum(said != _GOOD for _, said in reports) < failures:
        return False
    of_model = key.startswith("circuit/model|")
    failing = Counter(
        source[-_SOURCE_LENGTH:] if of_model or said == _LIMITED else source[:_SOURCE_LENGTH]
        for source, said in reports
        if said != _GOOD
    )
    alone = len({source[-_SOURCE_LENGTH:] for source, _ in reports}) == 1
    limited = sum(said == _LIMITED for _, said in reports)
    if alone and (of_model or limited >= failures):
        return True
    most = -(-failures // 2)
    return len(failing) > 1 and sum(min(count, most) for count in failing.values()) >= failures


def _trial_over(draft: Draft, key: str, name: str, row: Circuit, *, good: bool) -> None:
    if not good:
        _keep(draft, key, _moved(draft, replace(row, good=0), "trial_failed"))
        return
    row = replace(row, good=row.good + 1)
    if row.good < max(1, draft.rules.routing.breaker.trials):
        _keep(draft, key, row)
        return
    _moved(draft, row, "trials_well")
    draft.delete(key)
    _tell_closed(draft, key, name, row, f"{row.good} trials in a row went well")


def _moved(draft: Draft, row: Circuit, happening: Happening) -> Circuit:
    state = TABLE.get((row.state, happening))
    if state is None:
        raise InvariantBroken(f"a circuit that is {row.state} cannot have {happening}")
    return replace(row, state=state, since=draft.now)


def _keep(draft: Draft, key: str, row: Circuit) -> None:
    draft.put(key, replace(row, until=draft.now + IDLE_MS))


def _source(*names: str) -> str:
    return derived_id("", *names)[:_SOURCE_LENGTH]


# Time and people


def circuit_due(draft: Draft, key: str) -> None:
    """Nothing was heard of it for long: it is forgotten."""
    row = draft.get(CIRCUITS, key)
    if row is None:
        return
    _moved(draft, row, "idle")
    draft.delete(key)
    if row.state != "closed":
        name = row.name or key.partition("|")[2]
        _tell_closed(draft, key, name, row, "it has not been used for a day")


def _tell_open(draft: Draft, key: str, name: str, row: Circuit, last: str) -> None:
    failed, of = len(last) - last.count(_GOOD), len(last)
    card = draft.rules.routing.cards.get(name)
    fallbacks = card.fallbacks if card is not None and key.startswith("circuit/model|") else ()
    where = f"to {', '.join(fallbacks)}" if fallbacks else "to other models"
    alert(
        draft,
        EVERYBODY,
        "circuit_open",
        f"{_what(key, name)} is left: {failed} of its last {of} reports failed or took too long. What would have "
        f"used it goes {where}, as far as they may be used; one ask tries it from "
        f"{format_time(_open_until(draft, row))} on.",
        dedupe=f"{key.removeprefix('circuit/')}|{draft.state.partition}",
        seed=(key, draft.state.partition, draft.now, "open"),
        subject=name,
    )


def _tell_closed(draft: Draft, key: str, name: str, row: Circuit, why: str) -> None:
    alert(
        draft,
        EVERYBODY,
        "circuit_open",
        f"{_what(key, name)} is used again: {why}.",
        dedupe=f"{key.removeprefix('circuit/')}|{draft.state.partition}",
        seed=(key, draft.state.partition, draft.now, "closed"),
        status="resolved",
        subject=name,
        since=row.opened,
    )


def _what(key: str, name: str) -> str:
    return f"{'Model' if key.startswith('circuit/model|') else 'Provider'} {name}"
