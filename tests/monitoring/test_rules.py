"""Alert rules: they ask for what is exported, say what they mean, and are proved at their thresholds."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import promql_parser as promql
import pytest

from ops_stream.rules.bundle import compile_bundle, read_conf
from tests.monitoring.exported import OF_PROMETHEUS, Labels, exported
from tests.monitoring.models import (
    MONITORING,
    PROMETHEUS,
    ROOT,
    RUNBOOKS,
    Alert,
    Config,
    Record,
    alerts,
    cases,
    read,
    records,
    rules,
)
from tests.monitoring.promql import Unknown, labels_of, metrics_of, parsed

CONFIGS = sorted(PROMETHEUS.glob("*.yml"))
RUNBOOK_PAGE = ROOT / "docs" / "operations" / "runbooks.md"


@cache
def known() -> dict[str, Labels]:
    """Everything that a rule may ask for: what is exported, what Prometheus adds, what earlier rules record."""
    names = exported() | OF_PROMETHEUS
    for record in records():
        names = names | {record.record: labels_of(parsed(record.expr), names)}
    return names


@pytest.mark.parametrize(
    "rule", rules(), ids=lambda rule: rule.alert if isinstance(rule, Alert) else rule.record
)
def test_every_rule_asks_for_what_is_exported(rule: Alert | Record) -> None:
    """Each expression parses; each metric in it is one that a part exports, with the labels that it asks for."""
    labels_of(parsed(rule.expr), known())


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.alert)
def test_what_an_alert_says_is_there_to_be_said(alert: Alert) -> None:
    """Every label in a summary or description is one of the result."""
    labels = labels_of(parsed(alert.expr), known())
    text = alert.annotations.summary + alert.annotations.description
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels
    assert text.count("{{") == text.count("}}")


def test_what_is_not_exported_is_found_out() -> None:
    """The check itself: another metric, another label in a selector, an aggregation or a match is refused."""
    for wrong in (
        "ops_stream_nothing > 1",
        'ops_stream_ready{tenant="a"} == 0',
        "sum by (tenant) (ops_stream_ready)",
        "histogram_quantile(0.9, sum(rate(ops_stream_append_seconds_bucket[5m])))",
        "sum by (topic) (ops_stream_lag_records) and ops_stream_ready",
        "ops_stream_ready / on (topic) ops_stream_ready",
        "rate(ops_stream_append_seconds[5m])",
    ):
        with pytest.raises(Unknown):
            labels_of(parsed(wrong), known())


def test_names_are_given_once() -> None:
    """No two alerts and no two records of one name; every record is used by an alert or on a dashboard."""
    names = [rule.alert if isinstance(rule, Alert) else rule.record for rule in rules()]
    assert len(names) == len(set(names))
    dashboards = "".join(path.read_text() for path in (MONITORING / "grafana").rglob("*.json"))
    used = {name for rule in rules() for name in metrics_of(parsed(rule.expr))}
    assert [one.record for one in records() if one.record not in used and one.record not in dashboards] == []


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """The link of an alert leads to the heading of its own name in runbooks.md, and there is no other heading."""
    headings = re.findall(r"^## (\w+)$", RUNBOOK_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(alert.alert for alert in alerts())
    for alert in alerts():
        assert alert.annotations.runbook_url == RUNBOOKS + alert.alert.lower()


def test_every_runbook_says_what_to_do() -> None:
    """Meaning, how bad, first look, what to do, when it is over: in this order, none of them empty."""
    wanted = ["Meaning", "How bad", "First look", "What to do", "Over"]
    for section in re.split(r"^## ", RUNBOOK_PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name, _, text = section.partition("\n")
        parts = re.split(r"^\*\*([A-Z][a-z ]+)\.\*\* ", text, flags=re.MULTILINE)
        assert parts[1::2] == wanted, name
        assert all(len(part.strip()) > 15 for part in parts[2::2]), name


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.alert)
def test_every_alert_is_tried_at_its_threshold_and_below(alert: Alert) -> None:
    """promtool's cases have one in which the alert fires, and one in which it does not."""
    fires = quiet = False
    for case in cases():
        for one in case.promql_expr_test:
            node = promql.parse(one.expr)
            if not isinstance(node, promql.VectorSelector) or node.name != "ALERTS":
                continue
            if any(
                re.fullmatch(m.value, alert.alert) for m in node.matchers.matchers if m.name == "alertname"
            ):
                fires = fires or bool(one.exp_samples)
                quiet = quiet or not one.exp_samples
    assert fires, "no case in which it fires"
    assert quiet, "no case in which it does not"


def test_series_of_the_cases_are_exported() -> None:
    """promtool's cases feed metrics that exist, with labels that they have."""
    names = known()
    for case in cases():
        for one in case.input_series:
            labels_of(promql.parse(one.series), names)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_prometheus_asks_where_the_parts_listen(path: Path) -> None:
    """Each job's port is the default of the command that serves it, and the rules are found from the file."""
    from ops_stream.cli.notifier import PORT as NOTIFIER
    from ops_stream.cli.views import PORT as VIEWS
    from ops_stream.cli.worker import PORT as WORKER

    config = Config.model_validate(read(path))
    assert all(list(path.parent.glob(pattern)) for pattern in config.rule_files)
    ports = {"ops-stream-worker": WORKER, "ops-stream-notifier": NOTIFIER, "ops-stream-views": VIEWS}
    jobs = {scrape.job_name: scrape for scrape in config.scrape_configs}
    assert "ops-stream-worker" in jobs
    for name, job in jobs.items():
        if name in ports:
            asked = [dns.port for dns in job.dns_sd_configs]
            asked += [int(target.rpartition(":")[2]) for one in job.static_configs for target in one.targets]
            assert asked == [ports[name]]
    for alert in alerts():
        for job in re.findall(r'job="([^"]+)"', alert.expr):
            assert job in ports


def test_promtool_agrees() -> None:
    """Where Prometheus' own tool is on the machine: configurations, rules and every case of the unit tests pass."""
    promtool = shutil.which("promtool")
    if promtool is None:  # everything above has run all the same
        return
    for words in (
        *(["check", "config", str(path)] for path in CONFIGS),
        ["check", "rules", *map(str, sorted((PROMETHEUS / "rules").glob("*.yml")))],
        ["test", "rules", *map(str, sorted((PROMETHEUS / "tests").glob("*.yml")))],
    ):
        ran = subprocess.run([promtool, *words], capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_rules_of_ops_stream_are_not_disturbed() -> None:
    """conf/ is read as before: the folder beside its files is no file of the rules."""
    files = read_conf(ROOT / "conf")
    assert not [name for name in files if "monitoring" in name or "prometheus" in name]
    compile_bundle(files)


def test_the_package_carries_the_files() -> None:
    """The wheel takes conf/ whole, so an installed copy has the rules and the dashboard."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '"conf" = "ops_stream/_data/conf"' in project
    assert not (ROOT / ".gitignore").read_text().count("monitoring")
