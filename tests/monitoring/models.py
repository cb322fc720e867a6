"""The shape of the files for Prometheus and Grafana: strict, so that a key that neither knows is a mistake."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from ruamel.yaml import YAML

ROOT: Final = Path(__file__).parents[2]
MONITORING: Final = ROOT / "conf" / "monitoring"
PROMETHEUS: Final = MONITORING / "prometheus"
RUNBOOKS: Final = "https://github.com/ops-stream/ops-stream/blob/main/docs/operations/runbooks.md#"

Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]+(ms|[smhdwy]))+$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]+$")]
RecordName = Annotated[str, StringConstraints(pattern=r"^ops_stream:[a-z0-9_]+:[a-z0-9_]+$")]
Port = Annotated[int, Field(ge=1, le=65_535)]


def read(path: Path) -> Any:
    """Read a YAML file; a key given twice is refused."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


class Strict(BaseModel):
    """Nothing that is not named here, and nothing taken for what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)


class Labels(Strict):
    severity: Literal["critical", "warning", "info"]


class Annotations(Strict):
    summary: Annotated[str, Field(min_length=10, max_length=200)]
    description: Annotated[str, Field(min_length=20, max_length=400)]
    runbook_url: Annotated[str, StringConstraints(pattern=f"^{re.escape(RUNBOOKS)}[a-z]+$")]


class Alert(Strict):
    alert: Name
    expr: str
    for_: Duration = Field(default="0s", alias="for")
    labels: Labels
    annotations: Annotations


class Record(Strict):
    record: RecordName
    expr: str


class Group(Strict):
    name: Annotated[str, StringConstraints(pattern=r"^ops-stream-[a-z]+$")]
    rules: Annotated[list[Alert | Record], Field(min_length=1)]


class Rules(Strict):
    groups: Annotated[list[Group], Field(min_length=1)]


class Static(Strict):
    targets: Annotated[list[str], Field(min_length=1)]


class Dns(Strict):
    names: Annotated[list[str], Field(min_length=1)]
    type: Literal["A"]
    port: Port
    refresh_interval: Duration


class Scrape(Strict):
    job_name: str
    static_configs: list[Static] = []
    dns_sd_configs: list[Dns] = []


class Global(Strict):
    scrape_interval: Duration
    scrape_timeout: Duration
    evaluation_interval: Duration


class Config(Strict):
    global_: Global = Field(alias="global")
    rule_files: list[str]
    scrape_configs: list[Scrape]


class Series(Strict):
    series: str
    values: str


class Sample(Strict):
    labels: str
    value: float | int


class ExprTest(Strict):
    expr: str
    eval_time: Duration
    exp_samples: list[Sample] = []


class ExpectedAlert(Strict):
    exp_labels: dict[str, str]
    exp_annotations: dict[str, str]


class AlertTest(Strict):
    alertname: str
    eval_time: Duration
    exp_alerts: list[ExpectedAlert] = []


class Case(Strict):
    name: str
    interval: Duration
    input_series: Annotated[list[Series], Field(min_length=1)]
    promql_expr_test: list[ExprTest] = []
    alert_rule_test: list[AlertTest] = []


class Tests(Strict):
    rule_files: list[str]
    evaluation_interval: Duration
    tests: Annotated[list[Case], Field(min_length=1)]


@cache
def rules() -> list[Alert | Record]:
    """Give every rule of every file, in order."""
    files = sorted((PROMETHEUS / "rules").glob("*.rules.yml"))
    assert files
    return [
        rule for path in files for group in Rules.model_validate(read(path)).groups for rule in group.rules
    ]


def alerts() -> list[Alert]:
    """Give every alert."""
    return [rule for rule in rules() if isinstance(rule, Alert)]


def records() -> list[Record]:
    """Give every recording rule."""
    return [rule for rule in rules() if isinstance(rule, Record)]


@cache
def cases() -> list[Case]:
    """Give every case of promtool's unit tests."""
    files = sorted((PROMETHEUS / "tests").glob("*.test.yml"))
    assert files
    return [case for path in files for case in Tests.model_validate(read(path)).tests]
