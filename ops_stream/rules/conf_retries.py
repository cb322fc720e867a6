"""`retries.yaml`: how often is tried again, after how long and with what."""

from types import MappingProxyType
from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from ops_stream.core.retries_classes import spaced
from ops_stream.core.rows_retries import ErrorClass
from ops_stream.core.rules_retries import Plan, Retries, Said, Way
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, Part, fault
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document

ATTEMPTS_MAX: Final = 100
WAIT_MAX_MS: Final = 3_600_000
WORDS_MAX: Final = 500
_ALWAYS: Final = Plan(max_attempts=1, after="escalate")
"""What is done about an unknown outcome of what changes state; no file says otherwise."""


def _word(value: str) -> str:
    if not spaced(value).strip():
        raise ValueError("a word has a letter or a digit")
    return value


Wait = Annotated[int, Field(ge=0, le=WAIT_MAX_MS)]
Word = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_word)]
Words = Annotated[list[Word], Field(max_length=WORDS_MAX)]
Ways = Annotated[list[Way], Field(min_length=1, max_length=10)]


class PlanEntry(Part):
    """What is done about failures of one class; what is left out is as in the file that is shipped."""

    max_attempts: Annotated[int, Field(ge=1, le=ATTEMPTS_MAX)] | None = None
    base_ms: Wait | None = None
    factor_percent: Annotated[int, Field(ge=100, le=1_000)] | None = None
    cap_ms: Wait | None = None
    jitter_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    next: Ways | None = None
    after: Literal["escalate", "give_up"] | None = None

    def plan(self, shipped: Plan) -> Plan:
        """Give it as the core knows it."""
        given = self.model_dump(exclude_none=True)
        ways = tuple(given.pop("next", shipped.ways))
        fields = {name: given.get(name, getattr(shipped, name)) for name in _NUMBERS}
        return Plan(**fields, ways=ways)


_NUMBERS: Final = ("max_attempts", "base_ms", "factor_percent", "cap_ms", "jitter_percent", "after")
_SHIPPED: Final[dict[ErrorClass, Plan]] = {
    "transient": Plan(4),
    "rate_limit": Plan(5, base_ms=10_000, cap_ms=300_000, ways=("same", "model")),
    "bad_input": Plan(1, ways=("same",)),
    "policy": Plan(2, 0, 100, 0, 0, ways=("model",)),
    "unknown_outcome": _ALWAYS,
}


class ClassesSection(Part):
    """What is done about a failure, by the class of its error."""

    transient: PlanEntry = Field(default_factory=PlanEntry)
    rate_limit: PlanEntry = Field(default_factory=PlanEntry)
    bad_input: PlanEntry = Field(default_factory=PlanEntry)
    policy: PlanEntry = Field(default_factory=PlanEntry)

    @model_validator(mode="after")
    def _waits(self) -> "ClassesSection":
        for name, shipped in _SHIPPED.items():
            entry = getattr(self, name, None)
            plan = shipped if entry is None else entry.plan(shipped)
            if plan.base_ms > plan.cap_ms:
                raise fault(
                    f"The first wait of '{name}' is {plan.base_ms} ms, and none may be longer than {plan.cap_ms} ms.",
                    "Make 'base_ms' smaller, or 'cap_ms' larger.",
                    name,
                )
        return self


WORDS: Final[dict[Said, tuple[str, ...]]] = {
    "unknown_outcome": (
        "unknown outcome",
        "outcome unknown",
        "unknown result",
        "ambiguous",
        "may have been done",
        "partially applied",
        "partial failure",
    ),
    "policy": (
        "content filter",
        "content policy",
        "safety",
        "refused by policy",
        "refusal",
        "model refused",
        "moderation",
        "permission",
        "forbidden",
        "unauthorized",
        "unauthenticated",
        "not allowed",
        "access denied",
        "policy",
        "401",
        "403",
    ),
    "rate_limit": (
        "rate limit",
        "rate limited",
        "ratelimit",
        "too many requests",
        "quota",
        "throttled",
        "throttling",
        "resource exhausted",
        "429",
    ),
    "bad_input": (
        "bad request",
        "invalid request",
        "invalid argument",
        "validation",
        "value error",
        "valueerror",
        "type error",
        "key error",
        "schema",
        "context length",
        "context window",
        "context length exceeded",
        "too long",
        "not found",
        "unprocessable",
        "malformed",
        "parse error",
        "decode error",
        "400",
        "404",
        "413",
        "422",
    ),
    "lost": (
        "timeout",
        "timeouts",
        "timed out",
        "time out",
        "deadline exceeded",
        "connection reset",
        "connection lost",
        "connection closed",
        "connection aborted",
        "connection error",
        "connection broken",
        "connectionerror",
        "disconnected",
        "server disconnected",
        "broken pipe",
        "incomplete read",
        "econnreset",
        "etimedout",
        "epipe",
        "eof",
        "bad gateway",
        "gateway timeout",
        "408",
        "502",
        "504",
    ),
    "transient": (
        "connection refused",
        "econnrefused",
        "name resolution",
        "dns",
        "overloaded",
        "unavailable",
        "service unavailable",
        "internal error",
        "internal server error",
        "server error",
        "temporary",
        "temporarily",
        "try again",
        "api error",
        "500",
        "503",
        "529",
    ),
}
"""The words that are shipped, by what they say; where words of several fit, the first here counts."""


class WordsSection(Part):
    """What tells the class of an error; what is left out is as in the file that is shipped."""

    unknown_outcome: Words | None = None
    policy: Words | None = None
    rate_limit: Words | None = None
    bad_input: Words | None = None
    lost: Words | None = None
    transient: Words | None = None

    def pairs(self) -> tuple[tuple[str, Said], ...]:
        """Give each word with what it says, in the order in which they count."""
        given = {said: getattr(self, said) for said in WORDS}
        words = {said: WORDS[said] if own is None else own for said, own in given.items()}
        return tuple((spaced(word), said) for said in words for word in words[said])


class BudgetSection(Part):
    """How many retries a provider gets."""

    percent: Annotated[int, Field(ge=0, le=1_000)] | None = 20
    min_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 10


Effect = Literal["irreversible", "reversible", "unknown"]
Effects = Annotated[list[Effect], Field(max_length=len(get_args(Effect)))]
_UNSURE: Final[tuple[Effect, ...]] = ("irreversible", "reversible")


class RetriesFile(ConfFile):
    """`retries.yaml`; what is left out is as in the file that is shipped."""

    on: bool = True
    classes: ClassesSection = Field(default_factory=ClassesSection)
    words: WordsSection = Field(default_factory=WordsSection)
    otherwise: ErrorClass = "transient"
    unsure_effects: Effects = Field(default_factory=lambda: list(_UNSURE))
    remember_s: Annotated[int, Field(ge=3_600, le=31_536_000)] = 604_800
    budget: BudgetSection = Field(default_factory=BudgetSection)

    @model_validator(mode="after")
    def _unsure(self) -> "RetriesFile":
        if "irreversible" not in self.unsure_effects:
            raise fault(
                "What cannot be taken back is never tried again without a person while its outcome is unknown.",
                "Add 'irreversible'.",
                "unsure_effects",
            )
        return self


def read_retries(document: Document | None, problems: list[Problem]) -> Retries:
    """Read the file; a document that cannot be read has been reported already, an absent file turns nothing on."""
    if document is None or not document.text:
        return Retries()
    file = check(RetriesFile, document, (), problems)
    if file is None or not file.on:
        return Retries()
    plans = {
        name: shipped if name == "unknown_outcome" else getattr(file.classes, name).plan(shipped)
        for name, shipped in _SHIPPED.items()
    }
    return Retries(
        on=True,
        plans=MappingProxyType(plans),
        words=file.words.pairs(),
        otherwise=file.otherwise,
        unsure_effects=frozenset(file.unsure_effects),
        remember_s=file.remember_s,
        budget_percent=file.budget.percent,
        budget_min_per_minute=file.budget.min_per_minute,
    )
