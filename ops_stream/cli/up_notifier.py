"""What `ops-stream up` runs beside its worker where there are webhooks: a notifier, started again where it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ops_stream.cli.output import Out, clean
from ops_stream.cli.up_companion import Companion

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings


def demand_webhooks(settings: Settings) -> list[str]:
    """Give the names of the targets; raises, before anything is started, where webhooks.yaml is wrong."""
    from ops_stream.notify.config import read_webhooks

    return [target.name for target in read_webhooks(settings.conf_dir)]


@contextmanager
def notifying(out: Out, targets: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Run a notifier for as long as the block lasts; none where nobody is to be told."""
    if not targets:
        yield
        return
    names = ", ".join(clean(name) for name in targets)
    companion = Companion(
        out,
        "notifier",
        ["notifier", "--port", "off"],
        environment,
        started=lambda _pid: ({"targets": targets}, f", telling: {names}"),
    )
    companion.start()
    try:
        yield
    finally:
        companion.stop()
