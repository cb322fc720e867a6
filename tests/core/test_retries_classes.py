"""Which class an error is of: the words of `conf/retries.yaml`, and what a lost answer means for what changes state."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.models import Telemetry
from ops_stream.core.asks import UNDECIDED
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.retries_classes import changes_state, classed, spaced
from ops_stream.core.rows import Ask
from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_retries import Retries
from ops_stream.core.state import State
from ops_stream.rules.conf_retries import read_retries
from ops_stream.rules.yamlfile import Document, read_yaml
from tests.core.world import DIGEST, START_MS

SHIPPED = (Path(__file__).parents[2] / "conf" / "retries.yaml").read_text(encoding="utf-8")


def shipped() -> Retries:
    """The rules as they are shipped."""
    document = read_yaml("retries.yaml", SHIPPED)
    assert isinstance(document, Document)
    return read_retries(document, [])


def class_of(
    error_class: str | None = None,
    error: str | None = None,
    effect: str = "none",
    retries: Retries | None = None,
    **effects: Any,
) -> str:
    """Class an error of an ask with an effect."""
    rules = Rules(DIGEST, retries=retries or shipped(), effects=Effects(**effects))
    draft = Draft(State(0, 1), rules, START_MS, Tick())
    ask = Ask("team-a", "r1", "t1", "ann", "sha256:0", "running", 0, UNDECIDED, effect=effect)
    fields = {"event_id": "e1", "request_id": "r1", "task_id": "t1", "agent": "ann", "kind": "failed"}
    given = {"error_class": error_class, "error": error}
    return classed(draft, ask, Telemetry.from_wire({**fields, **{k: v for k, v in given.items() if v}}))


@pytest.mark.parametrize(
    ("error_class", "error", "found"),
    [
        ("RateLimitError", None, "rate_limit"),
        ("rate_limit", "the read timed out", "rate_limit"),
        (None, "HTTP 429: Too Many Requests", "rate_limit"),
        ("429", None, "rate_limit"),
        ("insufficient_quota", None, "rate_limit"),
        ("OverloadedError", None, "transient"),
        ("HTTP503", None, "transient"),
        (None, "503 Service Unavailable", "transient"),
        (None, "ECONNREFUSED", "transient"),
        ("ReadTimeout", None, "transient"),
        ("ConnectionResetError", "broken pipe", "transient"),
        ("ValidationError", None, "bad_input"),
        ("ValueError", None, "bad_input"),
        (None, "400 Bad Request", "bad_input"),
        (None, "This exceeds the context length", "bad_input"),
        ("ContentFilter", "400", "policy"),
        (None, "stopped by the safety system", "policy"),
        ("PermissionError", None, "policy"),
        ("unknown_outcome", None, "transient"),
        (None, None, "transient"),
        (None, "it took 400 ms and 429 tokens", "transient"),
        ("Boom", "no idea", "transient"),
    ],
)
def test_an_error_is_classed_by_its_words(error_class: str | None, error: str | None, found: str) -> None:
    """The class that is named counts, else words of the class, else of the error, else what is set for the rest."""
    assert class_of(error_class, error) == found


@pytest.mark.parametrize("effect", ["reversible", "irreversible"])
@pytest.mark.parametrize(
    ("error_class", "error"),
    [
        ("Timeout", None),
        ("transient", "the read timed out"),
        ("rate_limit", "connection reset by peer"),
        ("bad_input", "ETIMEDOUT"),
        (None, "504"),
        (None, "502 Bad Gateway"),
        ("unknown_outcome", None),
        ("APIError", "the outcome is unknown: unknown outcome"),
    ],
)
def test_a_lost_answer_of_what_changes_state_is_an_unknown_outcome(
    effect: str, error_class: str | None, error: str | None
) -> None:
    """Whatever class the agent names beside it: nobody knows whether it was done."""
    assert class_of(error_class, error, effect) == "unknown_outcome"


@pytest.mark.parametrize("effect", ["reversible", "irreversible"])
def test_an_answer_that_came_is_classed_by_its_words_whatever_it_changes(effect: str) -> None:
    """A refusal is a refusal: nothing was done."""
    assert class_of("RateLimitError", "429", effect) == "rate_limit"
    assert class_of(None, "connection refused", effect) == "transient"
    assert class_of("ValidationError", None, effect) == "bad_input"


def test_what_nobody_has_classed_changes_state_where_effects_or_retries_say_so() -> None:
    """As shipped it does not; `unknown: irreversible` in effects.yaml counts, and `unknown` among `unsure_effects`."""
    rules = shipped()
    assert class_of("Timeout", None, "unknown") == "transient"
    assert class_of("Timeout", None, "unknown", unknown="irreversible") == "unknown_outcome"
    wider = replace(rules, unsure_effects=rules.unsure_effects | {"unknown"})
    assert class_of("Timeout", None, "unknown", wider) == "unknown_outcome"
    narrower = replace(rules, unsure_effects=frozenset(("irreversible",)))
    assert class_of("Timeout", None, "reversible", narrower) == "transient"


def test_what_cannot_be_taken_back_changes_state_whatever_is_set() -> None:
    """Not even rules that nobody checked turn it off."""
    draft = Draft(State(0, 1), Rules(DIGEST, retries=Retries(unsure_effects=frozenset())), START_MS, Tick())
    assert changes_state(draft, "irreversible")
    assert not changes_state(draft, "reversible")
    assert not changes_state(draft, "none")


def test_without_the_file_the_name_of_a_class_still_counts() -> None:
    """An agent that names the class is believed as before."""
    assert class_of("bad_input", None, retries=Retries()) == "bad_input"
    assert class_of("policy", None, retries=Retries()) == "policy"
    assert class_of("RateLimitError", None, retries=Retries()) == "transient"


@given(st.text(max_size=200))
def test_words_stand_between_blanks(text: str) -> None:
    """Whatever an agent writes: letters and digits in lower case, single blanks, and the same when done twice."""
    written = spaced(text)
    assert re.fullmatch(r" ((?:[a-z0-9]+ )+| )", written), written
    assert spaced(written) == written
