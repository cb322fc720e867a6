"""The rule bundles that are on the rules topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ops_stream.cli.bus import Bus


class _Bundle(msgspec.Struct):
    digest: str
    files: dict[str, str]


async def bundles(bus: Bus) -> dict[str, Mapping[str, str]]:
    """Give the files of every bundle by its digest; what is not what its name says is passed over."""
    from ops_stream.rules.bundle import digest_of

    found: dict[str, Mapping[str, str]] = {}
    async for record in bus.read(await bus.ends(bus.places(["rules"]))):
        try:
            doc = msgspec.json.decode(record.value or b"", type=_Bundle)
        except msgspec.MsgspecError:
            continue
        if digest_of(doc.files) == doc.digest:
            found[doc.digest] = doc.files
    return found
