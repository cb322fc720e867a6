"""What was measured of overload, as a page and a plot."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil


def write_overload(found: dict[str, Any], target: Path) -> None:
    """Write `overload.md` and `overload.png`."""
    (target / "overload.md").write_text(page(found))
    _plot(found, target / "overload.png")


def page(found: dict[str, Any]) -> str:
    """Write it down, whatever it is."""
    rate = found["concurrency"] / found["work_s"]
    lines = [
        "# Overload",
        "",
        f"`python -m tests.bench --only overload`, {datetime.now(UTC):%Y-%m-%d}: a real broker and worker, one tenant "
        f"that may run {found['concurrency']} asks at once, each of which takes {found['work_s']:g} s: {rate:g} a "
        f"second. Asks of all ten priorities come in equal parts; at most {found['queue_max']} wait. "
        f"{psutil.cpu_count()} shared cores carry broker, worker, agents and whatever else runs there (load average "
        f"{found['load_average']:.0f}): times are what that machine gives, what matters is that they do not rise. "
        "Ended asks are forgotten after 15 s.",
        "",
        "| arrivals | for | asks | most at once | decided in p50 | p99 | p99 of the first and last third "
        "| lag, likewise | at most | resident MiB, likewise | waited at most | denied |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for phase in found["phases"]:
        cells = [
            f"{phase['share']:g} × capacity",
            f"{phase['seconds']:g} s",
            f"{phase['asks']:,}",
            f"{phase['most_running']}",
            f"{phase['p50_ms']:,.0f} ms",
            f"{phase['p99_ms']:,.0f} ms",
            " → ".join(f"{ms:,.0f}" for ms in phase["p99_thirds_ms"]) + " ms",
            " → ".join(f"{lag:g}" for lag in phase["lag_thirds"]),
            f"{phase['lag_most']:g}",
            " → ".join(f"{mib:g}" for mib in phase["rss_thirds_mib"]),
            f"{phase['queue_most']}",
            f"{phase['denied']:,}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "*Most at once* is read from the journal, row by row: the limit was never exceeded. *Lag* is the end of "
        "`ops.task-requests` less where the journal has read it to, in records. *Decided* is from the send of an ask "
        "to its first answer, be that `queued` or `denied`.",
        "",
        *_by_priority(found["phases"][-1]),
        "",
        "![Lag, resident memory and queue over time](overload.png)",
        "",
    ]
    return "\n".join(lines)


def _by_priority(phase: dict[str, Any]) -> list[str]:
    """Show who was denied, and how long those waited that ran."""
    lines = [
        f"At {phase['share']:g} × capacity, by priority (every denial is `overloaded` and names a time to come back; "
        f"{phase['denied_without_time']} did not). "
        "The waits are of those that ran; of the lowest that is who came first of all:",
        "",
        "| priority | denied | waited p50 | p99 |",
        "|---|---|---|---|",
    ]
    for priority, denied in phase["denied_percent"].items():
        p50, p99 = (phase[name].get(priority) for name in ("waited_p50_s", "waited_p99_s"))
        times = ["none ran" if seconds is None else f"{seconds:.1f} s" for seconds in (p50, p99)]
        lines.append(f"| {priority} | {denied} % | {times[0]} | {times[1]} |")
    return lines


def _plot(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(8, 6.0), sharex=True)
    begin = 0.0
    for phase in found["phases"]:
        times = [begin + sample[0] for sample in phase["samples"]]
        for number, axis in enumerate(axes, 1):
            axis.plot(
                times, [sample[number] for sample in phase["samples"]], label=f"{phase['share']:g} × capacity"
            )
        begin += phase["seconds"]
    for axis, name in zip(axes, ("lag (records)", "resident MiB", "asks waiting"), strict=True):
        axis.set_ylabel(name)
        axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.grid(alpha=0.3)
    axes[0].legend()
    axes[-1].set_xlabel("seconds of arrivals")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
