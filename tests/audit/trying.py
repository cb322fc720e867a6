"""A partition in whose journal a cheaper model is found, tried and put into force, all of it decided by `step`."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from ops_stream.audit.replay import rules_in_force
from ops_stream.core import optimization_looking
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.ledger import Ledger
from ops_stream.core.optimization_found import Found
from ops_stream.core.rows import ASKS, OPTIMIZATIONS, RULES, ActiveRules, Ask, OptimizationRow, ask_key
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.rules.bundle import POLICIES, compile_bundle
from tests.audit.journals import Writer
from tests.rules.building import yaml_of

MODELS = """version: 1
default: large
models:
  - {name: large, input_usd: 5, output_usd: 25, latency_ms: 4000, quality_percent: 80}
  - {name: small, input_usd: 1, output_usd: 5, latency_ms: 1000, quality_percent: 80}
"""
TRIES = """version: 1
mode: act
look_every_s: 600
samples_min: 20
share_percent: 40
horizon_samples: 60
time_box_s: 604800
"""
FILES = {POLICIES: yaml_of(), "models.yaml": MODELS, "optimization.yaml": TRIES}
TRIED = compile_bundle(FILES)
PLAIN = compile_bundle({POLICIES: yaml_of(), "models.yaml": MODELS})
"""The same without optimization."""
USUAL_MICROS = {"large": 200_000, "small": 40_000}
"""What an ask costs on average."""
FOUND = Found(
    kind="cheaper_model",
    task_type="general",
    scope="task type general",
    path="models.choice.general",
    before="large",
    after="small",
    samples=50,
    effect=150_000,
    low=100_000,
    high=200_000,
    confidence=80,
    saving_micros=1_000_000,
    why="small costs less.",
    cost_unit=200,
    taken_unit=1,
)


class Trying(Writer):
    """A journal under whatever rules its own row names. `run` lets agents ask and report."""

    def __init__(self, bundle: Rules = TRIED, seed: int = 0) -> None:
        """Begin with an agent."""
        self.book = {one.digest: one for one in (bundle, PLAIN)}
        self.bundle = bundle.digest
        self.chance = Random(seed)
        self.number = 0
        super().__init__(rules=bundle)
        self.known = frozenset(self.book)
        self.take_over()
        self.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])

    @property
    def rules(self) -> Rules:
        """The rules in force, as the worker takes them from the state."""
        return rules_in_force(self.ledger.state, self.bundle, self.book.get)

    @rules.setter
    def rules(self, _rules: Rules) -> None:
        """Nobody sets them: the journal says which they are."""

    @property
    def found(self) -> OptimizationRow:
        """The optimization, as the journal leaves it."""
        (row,) = (OPTIMIZATIONS.decode(value) for key, value in self._rows("optimization/"))
        return row

    @property
    def id(self) -> str:
        """Its id."""
        ((key, _),) = self._rows("optimization/")
        return key.rpartition("|")[2]

    @property
    def active(self) -> ActiveRules:
        """The row of the rules in force."""
        return RULES.decode(self.ledger.state.rows["rules"])

    def run(self, asks: int) -> Trying:
        """Let so many ask for something harmless, report what it cost, and time pass."""
        for _ in range(asks):
            self.number += 1
            name = f"r{self.number}"
            self.ask(name, task_id=f"t{self.number}", effect="none", estimated_cost_usd=0.3)
            ask = self.row_of(name)
            if ask is not None and ask.phase == "running":
                self._report(name, ask)
            self.pass_time(60_000)
        return self

    def row_of(self, request_id: str) -> Ask | None:
        """Give an ask as it stands."""
        value = self.ledger.state.rows.get(ask_key("default", request_id))
        return None if value is None else ASKS.decode(value)

    def pass_time(self, for_ms: int) -> None:
        """Do what is due until then."""
        end = self.now + for_ms
        while (due := self.ledger.state.next_due_ms()) is not None and due <= end:
            self.now = max(self.now, due)
            self.tick(0)
        self.now = end

    def start_again(self) -> None:
        """Let another worker fold the journal and take over."""
        ledger = Ledger(State(0, 1), self.key)
        for offset, value in self.log:
            ledger.fold(offset, value)
        self.ledger = ledger
        self.take_over("b2")

    def records(self) -> list[rec.Record]:
        """Give the records of the journal."""
        return [rec.read(value) for _, value in self.log]

    def _report(self, name: str, ask: Ask) -> None:
        usual = USUAL_MICROS[ask.model] * self.chance.uniform(0.5, 1.5)
        self.input(
            "telemetry",
            event_id=f"e-{name}",
            request_id=name,
            task_id=ask.task_id,
            agent="a",
            kind="completed",
            success=True,
            model=ask.model,
            latency_ms=1_000.0,
            cost_usd=round(usual) / 1_000_000,
        )

    def _rows(self, prefix: str) -> list[tuple[str, bytes]]:
        rows = self.ledger.state.rows
        return [(key, value) for key, value in rows.items() if key.startswith(prefix)]


def finds(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Let every look through the figures find the cheaper model, whatever they are."""
    found = [FOUND._replace(**fields)]
    monkeypatch.setattr(optimization_looking, "find", lambda draft, tenant: found)
