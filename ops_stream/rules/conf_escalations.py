"""`escalations.yaml`: what calls for a person, who is asked level by level, and what an answer must fulfil."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ops_stream.core.loops import COUNT_MAX
from ops_stream.core.rules_escalations import (
    ALL_TENANTS,
    Escalations,
    OnExpiry,
    Rung,
    Trigger,
    TriggerName,
    escalations_of,
)
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, Name, Part, Seconds, Severity, Usd, fault
from ops_stream.rules.problems import Problem
from ops_stream.rules.word_lists import LISTS_MAX, PHRASE_MAX, PHRASES_MAX, WordLists, words_of
from ops_stream.rules.yamlfile import Document

RUNGS_MAX: Final = 10
ROLES_MAX: Final = 20
TENANTS_MAX: Final = 1_000
QUORUM_MAX: Final = 20

Quorum = Annotated[int, Field(ge=1, le=QUORUM_MAX)]
Roles = Annotated[list[Name], Field(max_length=ROLES_MAX)]
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]


def _milli(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= 1:
        raise ValueError("a share is a number from 0 to 1")
    if value * 1000 % 1:
        raise ValueError("a share has at most three places")
    return int(value * 1000)


def _phrase(value: str) -> str:
    if not words_of(value):
        raise ValueError("a word has a letter or a digit")
    return value


Milli = Annotated[int, BeforeValidator(_milli)]
Phrase = Annotated[str, Field(max_length=PHRASE_MAX), AfterValidator(_phrase)]
Phrases = Annotated[list[Phrase], Field(max_length=PHRASES_MAX)]


class Entry(Part):
    """What every trigger has. What is left out is as for all tenants, or as it is without the file."""

    FIELDS: ClassVar[Mapping[str, str]] = {}
    """Names in the file of what the core calls otherwise."""

    on: bool | None = None
    severity: Severity | None = None
    quorum: Quorum | None = None
    roles: Roles | None = None
    ttl_s: Seconds | None = None


class Waiting(Entry):
    """A trigger that makes an ask wait."""

    on_expiry: OnExpiry | None = None


class Called(Entry):
    """A trigger about what an agent has done."""

    deny_suspends: bool | None = None


class Cost(Waiting):
    """`cost`."""

    FIELDS = {"usd": "cost_micros"}
    usd: Annotated[Usd, Field(ge=1)] | None = None


class WordsEntry(Waiting):
    """`words`."""

    lists: Annotated[dict[Name, Phrases], Field(max_length=LISTS_MAX)] | None = None


class Priority(Waiting):
    """`priority`."""

    FIELDS = {"at_least": "priority_at_least", "customer_impact": "impacts"}
    at_least: Annotated[int, Field(ge=1, le=11)] | None = None
    customer_impact: Annotated[list[Literal["low", "medium", "high"]], Field(max_length=3)] | None = None


class Loop(Waiting):
    """`loop`."""

    repeats: Count | None = None
    handovers: Count | None = None
    within_s: Annotated[int, Field(ge=1, le=604_800)] | None = None


class Failures(Called):
    """`failures`."""

    in_a_row: Annotated[int, Field(ge=1, le=1_000)] | None = None


class Quality(Called):
    """`quality`."""

    FIELDS = {"at_most": "at_most_milli"}
    at_most: Milli | None = None


class SoftLimit(Entry):
    """`soft_limit`."""

    percent: Annotated[int, Field(ge=1, le=1_000)] | None = None


class ViolationEntry(Called):
    """`violation`."""

    weights: Annotated[list[Literal["minor", "major"]], Field(min_length=1, max_length=2)] | None = None


class UnknownOutcome(Called):
    """`unknown_outcome`."""

    effects: (
        Annotated[
            list[Literal["none", "reversible", "irreversible", "unknown"]], Field(min_length=1, max_length=4)
        ]
        | None
    ) = None


class RetriesExhausted(UnknownOutcome):
    """`retries_exhausted`."""

    FIELDS = {"customer_impact": "impacts"}
    customer_impact: Annotated[list[Literal["low", "medium", "high"]], Field(max_length=3)] | None = None


class Triggers(Part):
    """The triggers of all tenants, or what is other for one of them."""

    policy: Waiting | None = None
    effect: Entry | None = None
    cost: Cost | None = None
    words: WordsEntry | None = None
    priority: Priority | None = None
    loop: Loop | None = None
    failures: Failures | None = None
    quality: Quality | None = None
    soft_limit: SoftLimit | None = None
    violation: ViolationEntry | None = None
    unknown_outcome: UnknownOutcome | None = None
    automatic_kill: Called | None = None
    retries_exhausted: RetriesExhausted | None = None
    optimization: Entry | None = None


class RungEntry(Part):
    """One level of a ladder."""

    after_s: Annotated[int, Field(ge=0, le=31_536_000)] = 0
    roles: Roles = Field(default_factory=list)
    severity: Severity | None = None


Rungs = Annotated[list[RungEntry], Field(min_length=1, max_length=RUNGS_MAX)]


def _in_order(rungs: list[RungEntry]) -> list[RungEntry]:
    if rungs[0].after_s:
        raise fault("Nobody is asked at first.", "Begin the ladder with 'after_s: 0'.", "ladder")
    for before, rung in pairwise(rungs):
        if rung.after_s <= before.after_s:
            raise fault(
                f"A level comes after {rung.after_s} s, and the one before it after {before.after_s} s.",
                "Let each level come later than the one before.",
                "ladder",
            )
    return rungs


class TenantEntry(Part):
    """What is other for one tenant."""

    ladder: Rungs | None = None
    triggers: Triggers = Field(default_factory=Triggers)

    @model_validator(mode="after")
    def _checked(self) -> "TenantEntry":
        _in_order(self.ladder or [RungEntry()])
        return self


class EscalationsFile(ConfFile):
    """`escalations.yaml`."""

    ladder: Rungs | None = None
    quorum: dict[Severity, Quorum] = Field(default_factory=dict)
    triggers: Triggers = Field(default_factory=Triggers)
    tenants: Annotated[dict[Name, TenantEntry], Field(max_length=TENANTS_MAX)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _checked(self) -> "EscalationsFile":
        _in_order(self.ladder or [RungEntry()])
        return self


def read_escalations(document: Document | None, problems: list[Problem]) -> Escalations:
    """Read the file; a document that cannot be read has been reported already, an absent file turns nothing on."""
    file = check(EscalationsFile, document, (), problems) if document is not None else None
    if file is None:
        return Escalations()
    triggers: dict[tuple[str, str], Trigger] = {}
    for name, general, own in _entries(file):
        for tenant, entries in {ALL_TENANTS: [general], **{one: [general, two] for one, two in own}}.items():
            found = [entry for entry in entries if entry is not None]
            if found:
                triggers[name, tenant] = _trigger(name, found)
    ladders = {ALL_TENANTS: file.ladder, **{name: one.ladder for name, one in file.tenants.items()}}
    return escalations_of(
        triggers,
        {tenant: tuple(map(_rung, ladder)) for tenant, ladder in ladders.items() if ladder},
        {str(severity): number for severity, number in file.quorum.items()},
    )


def _entries(
    file: EscalationsFile,
) -> Iterator[tuple[TriggerName, Entry | None, list[tuple[str, Entry]]]]:
    """Give each trigger with its entry for all tenants and those for single ones."""
    for name in get_args(TriggerName):
        own = [(tenant, getattr(one.triggers, name)) for tenant, one in sorted(file.tenants.items())]
        yield (
            name,
            getattr(file.triggers, name),
            [(tenant, entry) for tenant, entry in own if entry is not None],
        )


def _trigger(name: TriggerName, entries: list[Entry]) -> Trigger:
    """Put a trigger together from its entries, of which the later ones say what is other."""
    # Listed is on: whoever writes a threshold down means it.
    rule = Trigger(on=True, severity="critical" if name == "effect" else "warning")
    if name == "retries_exhausted":
        rule = replace(rule, effects=frozenset(("irreversible",)))
    lists: dict[str, list[str]] = {}
    for entry in entries:
        given = entry.model_dump(exclude_none=True)
        lists |= given.pop("lists", {})
        values = {entry.FIELDS.get(field, field): _plain(value) for field, value in given.items()}
        rule = replace(rule, **values)
    return replace(rule, words=WordLists(lists)) if name == "words" else rule


def _plain(value: Any) -> Any:
    return frozenset(value) if isinstance(value, list) else value


def _rung(entry: RungEntry) -> Rung:
    return Rung(entry.after_s, frozenset(entry.roles), entry.severity)
