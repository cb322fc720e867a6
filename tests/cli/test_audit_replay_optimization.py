"""What `audit replay --optimization` says, of a journal that was made in memory. No broker is needed."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from typing import Any
from unittest import mock

import pytest

from ops_stream.cli import audit_replay_optimization as verb
from ops_stream.cli.output import Out
from tests.audit.test_optimization import claimed
from tests.audit.trying import Trying, finds
from tests.cli.running import Result, ops


@pytest.fixture(name="doc")
def _doc(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What became of a change that was tried and put into force."""
    finds(monkeypatch)
    return claimed(Trying().run(220))


def shown(doc: dict[str, Any]) -> str:
    """What people read."""
    out = StringIO()
    with redirect_stdout(out):
        verb.show(Out(as_json=False, color=False, terminal=False), doc)
    return out.getvalue()


def proved(doc: dict[str, Any], *args: str) -> Result:
    """Run the verb over what the journal would say."""
    answer = mock.AsyncMock(return_value=doc)
    with mock.patch.object(verb, "proved", answer):
        return ops("audit", "replay", "--optimization", doc["optimization_id"], *args)


def test_people_read_the_claim_the_interval_the_sides_and_the_time_before(doc: dict[str, Any]) -> None:
    """With what is assumed where the past is told with the change in it."""
    text = shown(doc)
    assert "models.choice.general: large → small" in text
    assert "it lies within the interval of 95 %" in text
    assert "applied" in text
    assert "Of asks whose model was drawn" in text
    assert "the claim lies within" in text
    assert "Assumed is:" in text
    assert "in proportion to their prices" in text
    assert text.count(" USD") > 5


def test_the_exit_code_is_1_where_the_claim_does_not_agree(doc: dict[str, Any]) -> None:
    """As a script, or a person who reads no figures, needs it; JSON has all of it."""
    assert proved(doc).code == 0
    assert proved({**doc, "agrees": None}).code == 0
    assert "nothing to compare" in proved({**doc, "agrees": None}).out
    wrong = proved({**doc, "agrees": False})
    assert wrong.code == 1
    assert "does NOT agree" in wrong.out
    assert proved(doc, "--json").rows == [json.loads(json.dumps(doc))]


@pytest.mark.parametrize(
    "args", [(), ("--optimization", "o", "--rules", "conf"), ("--optimization", "o", "--from", "7d")]
)
def test_it_is_asked_alone_and_one_question_is_asked(args: tuple[str, ...]) -> None:
    """Other rules, or an optimization."""
    assert ops("audit", "replay", *args).code == 2
