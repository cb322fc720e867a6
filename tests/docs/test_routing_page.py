"""docs/routing.md is true: its table of circuits is the code's, every setting is named, its numbers are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ops_stream.core import circuit, evidence, routing
from ops_stream.core.rules_model import Supervisor
from ops_stream.core.rules_routing import Breaker, Routing

PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")
TEXT = re.sub(r"\s+", " ", PAGE)
HAPPENINGS: Final = {
    "`failures` of the last `window` reports were bad": "failures",
    "`open_s` are over, and an ask tries it": "trial",
    "the trial goes badly": "trial_failed",
    "`trials` in a row went well": "trials_well",
    "nothing was heard of it for a day": "idle",
}


def test_the_table_of_circuits_is_that_of_the_code() -> None:
    """Every way between the states, and no other."""
    table = PAGE.partition("| from | what happens | to |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert {(before, HAPPENINGS[what]): after for before, what, after in rows} == circuit.TABLE
    assert circuit.IDLE_MS == 86_400_000


def test_every_setting_is_named() -> None:
    """What the rules say of the choice and of the breaker."""
    own = set(Routing.__dataclass_fields__) - {"cards", "aliases", "memo"}
    assert [name for name in sorted(own | set(Breaker.__dataclass_fields__)) if f"`{name}" not in PAGE] == []


def test_the_numbers_are_those_of_the_code() -> None:
    """What an ask is taken for that estimates nothing, which errors are nobody's fault, what may be tried out with."""
    assert Supervisor().default_hold_tokens > 0
    assert routing.READ_QUARTERS == 3
    assert f"as shipped {Routing().evidence_weight}" in TEXT
    assert "three quarters of them read" in TEXT
    assert f"{evidence.MEMO_MAX:,} combinations" in TEXT
    assert all(
        f"`{name}`" in TEXT
        for name in circuit.NOT_ITS_FAULT | {circuit.LIMITED} | routing.EXPLORED | routing.LOW_IMPACT
    )
