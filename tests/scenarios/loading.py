"""What scenario texts say about load: how much may run at once and how fast, and whose share it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ops_stream.core.rules_load import Batch, Limits, Load, ProviderLimits
from ops_stream.rules.conf_alerts import WEEKDAYS
from ops_stream.rules.conf_load import WindowEntry
from tests.scenarios.driver import Driver, Setup
from tests.scenarios.language import Line

_LIMITS: Final = frozenset(Limits.__dataclass_fields__)
_SHARE: Final = "share-"


def set_up(setup: Setup, line: Line, values: Mapping[str, Any]) -> bool:
    """Take in a line about load; says whether it is one.

    `load NAME=value …` as in `conf/load.yaml`; `tenant-load TENANT concurrency=… rate_per_minute=… burst=…`, where
    `*` is every tenant; `provider-load PROVIDER … share-TENANT=…`, where `share-others` is that of all others;
    `batch price_percent=…`; `window TENANT 22:00-06:00 weekdays=sat+sun`.
    """
    if line.verb == "load":
        setup.load |= values
    elif line.verb == "tenant-load":
        setup.tenant_loads[line.words[0]] = dict(values)
    elif line.verb == "provider-load":
        setup.provider_loads[line.words[0]] = dict(values)
    elif line.verb == "batch":
        setup.load["batch"] = replace(_batch(setup), **values)
    elif line.verb == "window":
        tenant, daily = line.words
        days = line.named.get("weekdays", "+".join(WEEKDAYS)).split("+")
        window = WindowEntry.model_validate({"daily": daily, "weekdays": days}).window()
        windows = _batch(setup).windows
        windows = {**windows, tenant: (*windows.get(tenant, ()), window)}
        setup.load["batch"] = replace(_batch(setup), windows=windows)
    else:
        return False
    return True


def _batch(setup: Setup) -> Batch:
    found = setup.load.get("batch", Batch())
    assert isinstance(found, Batch)
    return found


def changed(line: Line, driver: Driver) -> bool:
    """Put other limits in force from now on: `load-now TENANT …` (`none`: no limit is left); says whether it is one."""
    if line.verb != "load-now":
        return False
    named = {name: int(text) for name, text in line.named.items()}

    def change(setup: Setup) -> None:
        if line.words == ("none",):
            setup.tenant_loads.clear()
            setup.provider_loads.clear()
        elif line.words[0] == "provider":
            setup.provider_loads[line.words[1]] = named
        else:
            setup.tenant_loads[line.words[0]] = named

    driver.change_load(change)
    return True


def load_in(setup: Setup) -> Load:
    """Build the rules about load of a scenario."""
    return Load(
        tenants={name: _limits(values) for name, values in setup.tenant_loads.items()},
        providers={name: _divided(values) for name, values in setup.provider_loads.items()},
        **setup.load,
    )


def _limits(values: Mapping[str, int]) -> Limits:
    return Limits(**{name: value for name, value in values.items() if name in _LIMITS})


def _divided(values: Mapping[str, int]) -> ProviderLimits:
    shares = {
        name.removeprefix(_SHARE).replace("others", "*"): value
        for name, value in values.items()
        if name.startswith(_SHARE)
    }
    return ProviderLimits(_limits(values), shares or {"*": 1})
