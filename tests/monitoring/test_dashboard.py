"""The Grafana dashboard and its provisioning: every question is one that Prometheus can answer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.monitoring.exported import exported
from tests.monitoring.models import MONITORING, ROOT, Strict, read, rules
from tests.monitoring.promql import labels_of, metrics_of, parsed
from tests.monitoring.test_rules import known

GRAFANA = MONITORING / "grafana"
DASHBOARD: dict[str, Any] = json.loads(
    (GRAFANA / "dashboards" / "ops-stream.json").read_text(encoding="utf-8")
)
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ROWS = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
UNITS = {"short", "reqps", "ops", "cpm", "s", "percentunit", "currencyUSD"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Datasource(Strict):
    name: str
    uid: str
    type: str
    access: str
    url: str
    isDefault: bool
    editable: bool
    jsonData: dict[str, str]


class Datasources(Strict):
    apiVersion: int
    datasources: list[Datasource]


class Provider(Strict):
    name: str
    orgId: int
    folder: str
    type: str
    disableDeletion: bool
    allowUiUpdates: bool
    updateIntervalSeconds: int
    options: dict[str, str | bool]


class Providers(Strict):
    apiVersion: int
    providers: list[Provider]


def test_it_has_a_row_for_each_thing_to_look_at() -> None:
    """The rows, in the order in which somebody on duty looks."""
    assert ROWS == [
        "Now",
        "Decisions and refusals",
        "Latency",
        "Money",
        "People",
        "Health",
        "KPIs",
        "Telemetry and memory",
    ]


def test_panels_are_told_apart() -> None:
    """Ids and titles are given once; a panel says what it shows."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    titles = [panel["title"] for panel in PANELS]
    assert len(ids) == len(set(ids)) and len(titles) == len(set(titles))
    assert [panel["title"] for panel in PANELS if len(panel["description"]) < 10] == []


def test_the_grid_holds() -> None:
    """Twenty-four columns, no panel over another, and no gap between lines."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24 and min(at["w"], at["h"]) > 0, panel["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_asks_for_what_is_there(panel: dict[str, Any]) -> None:
    """Targets parse, their metrics and labels exist, legends name labels of the result, the unit is a known one,
    and the data source is the variable."""
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        labels = labels_of(parsed(target["expr"]), known())
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels


def test_a_unit_fits_what_is_asked_for() -> None:
    """Dollars are shown as dollars, seconds as seconds, rates as rates."""
    for panel in PANELS:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        names = {name for target in panel["targets"] for name in metrics_of(parsed(target["expr"]))}
        if all(name.endswith("_usd") for name in names):
            assert unit == "currencyUSD", panel["title"]
        if all(re.search(r"_seconds(_bucket|_sum|:p\d+_5m)?$", name) for name in names):
            assert unit == "s", panel["title"]
        if unit in {"reqps", "ops", "cpm"}:
            assert all(re.search(r"rate", target["expr"]) for target in panel["targets"]), panel["title"]
            assert all(("60 *" in target["expr"]) is (unit == "cpm") for target in panel["targets"])


def test_nothing_that_is_exported_is_left_out() -> None:
    """Each metric of worker, views and notifier is on the dashboard, or in a rule that stands on it."""
    recorded = " ".join(rule.expr for rule in rules())
    text = recorded + " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    families = {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in exported() if not name.endswith("_created")
    }
    assert [name for name in sorted(families) if name not in text] == []


def test_variables_are_known() -> None:
    """The data source can be chosen, and the window of KPIs comes from the metric itself."""
    source, window = DASHBOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert window["name"] == "window" and window["datasource"] == SOURCE
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", window["query"]["query"]).groups()  # type: ignore[union-attr]
    assert label in exported()[name]
    for annotation in DASHBOARD["annotations"]["list"]:
        assert annotation["datasource"] == SOURCE
        labels_of(parsed(annotation["expr"]), known())


def test_it_cannot_be_changed_in_grafana() -> None:
    """The file is the dashboard: it has a fixed uid, is not editable, and the provider takes no changes."""
    assert DASHBOARD["uid"] == "ops-stream" and DASHBOARD["editable"] is False
    assert "id" not in DASHBOARD
    provider = Providers.model_validate(read(GRAFANA / "provisioning" / "dashboards" / "ops-stream.yml"))
    (one,) = provider.providers
    assert one.allowUiUpdates is False and one.disableDeletion is True


def test_provisioning_fits_the_composition() -> None:
    """The dashboards' folder is where docker-compose.yml mounts it, and the data source is its Prometheus."""
    grafana = read(ROOT / "docker-compose.yml")["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    (provider,) = Providers.model_validate(
        read(GRAFANA / "provisioning" / "dashboards" / "ops-stream.yml")
    ).providers
    assert mounts["./conf/monitoring/grafana/dashboards"] == provider.options["path"]
    assert mounts["./conf/monitoring/grafana/provisioning"] == "/etc/grafana/provisioning"
    (source,) = Datasources.model_validate(
        read(GRAFANA / "provisioning" / "datasources" / "ops-stream.yml")
    ).datasources
    assert source.url == "http://prometheus:9090" and source.isDefault and source.type == "prometheus"
