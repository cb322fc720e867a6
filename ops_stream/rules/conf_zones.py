"""Time zones by name, from the pinned `tzdata` package alone: never from whatever the machine has installed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

from ops_stream.core.rules_model import ANY, Zone
from ops_stream.rules.conf_models import SupervisorFile
from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document, Path

_BUCKET_MS: Final = 900_000
"""Clocks are only ever changed at a full quarter of an hour, UTC."""
_LAST_S: Final = 253_400_000_000
"""A moment before the year 10,000, from which on nothing changes any more."""


class NamedZone:
    """A time zone of the tz database."""

    __slots__ = ("_zone", "name")

    def __init__(self, name: str) -> None:
        """Read the zone. Raises KeyError where there is none of that name."""
        if name not in zone_names():
            raise KeyError(name)
        with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
            self._zone: Final = ZoneInfo.from_file(file, key=name)
        self.name: Final = name

    def offset_ms(self, now_ms: int) -> int:
        """Give what is to be added to UTC at a moment, in milliseconds."""
        return _offset_ms(self._zone, now_ms // _BUCKET_MS)

    def __repr__(self) -> str:
        """Show the name."""
        return f"NamedZone({self.name!r})"


@cache
def zone_names() -> frozenset[str]:
    """Give the names of all time zones."""
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())


@cache
def named_zone(name: str) -> NamedZone:
    """Give a time zone, read once. Raises KeyError where there is none of that name."""
    return NamedZone(name)


@lru_cache(maxsize=4096)
def _offset_ms(zone: ZoneInfo, bucket: int) -> int:
    second = min(max(bucket * _BUCKET_MS // 1000, 0), _LAST_S)
    offset = datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds()) * 1000


def read_zones(document: Document, file: SupervisorFile, problems: list[Problem]) -> Mapping[str, Zone]:
    """Read the zones of tenants, that of `*` for all others; those that are UTC are left out."""
    found: dict[str, Zone] = {}
    named: dict[str, tuple[str, Path]] = {ANY: (file.time_zone, ("time_zone",))}
    named |= {tenant: (name, ("time_zones", tenant)) for tenant, name in file.time_zones.items()}
    for tenant, (name, path) in sorted(named.items()):
        try:
            zone = named_zone(name)
        except KeyError:
            hint = did_you_mean(name, zone_names()) or "Write it as in Europe/Berlin."
            problems.append(document.problem(path, f"There is no time zone '{name[:60]}'.", hint))
            continue
        if tenant != ANY or name != "UTC":
            found[tenant] = zone
    return found
