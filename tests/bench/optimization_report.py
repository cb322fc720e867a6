"""What was measured of optimization, as a page and a plot."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.bench.optimization import SEEDS, interval

NAMES: Final = {
    "cheaper": "cheaper, as good",
    "worse": "cheaper, worse",
    "lucky": "a lucky streak",
    "drifting": "drifting",
    "alike": "all alike",
}
RULES: Final = ("ops-stream", "greedy", "nothing")
STYLES: Final = {"ops-stream": "-", "greedy": "--", "nothing": ":", "knowing everything": "-."}


def write_optimization(found: dict[str, Any], target: Path) -> None:
    """Write `optimization.md` and `optimization.svg`."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "optimization.md").write_text(page(found))
    _plot(found, target / "optimization.svg")


def page(found: dict[str, Any]) -> str:
    """Write it down, whatever it is."""
    settings = ", ".join(f"`{name}: {value}`" for name, value in found["settings"].items())
    lines = [
        "# Optimization",
        "",
        f"`python -m tests.bench --only optimization`, {datetime.now(UTC):%Y-%m-%d}: five worlds whose truth is "
        f"known, {found['seeds']} fleets of each, {found['per_day']} asks of a fleet a day. Of ops-stream every ask "
        f"and report goes through the core ({found['steps']:,} steps); all rules meet the same asks with the same "
        "luck. 15 % of the asks name a model themselves and 10 % are critical: these are the same under every rule. "
        "People approve what they are asked after 4 to 29 hours. Rules as shipped but for "
        f"{settings}; looked for are other models and the router. "
        f"{_cut_short(found['seeds'])}It took {found['seconds']:,} s in {found['processes']} processes.",
        "",
        "| world | | days | asks of a fleet |",
        "|---|---|---|---|",
        *(
            f"| {NAMES[name]} | {world['what']} | {world['played_days']} | {world['asks']:,} |"
            for name, world in found["worlds"].items()
        ),
        "",
        "*Greedy* takes for all asks, at each look, what has cost least on average after 30 reports at a quality not "
        "more than 0.03 below; it learns from whatever is reported, as ops-stream does. *Nothing* leaves all as it is.",
        "",
        *_savings(found),
        "",
        *_false(found),
        "",
        *_revert(found["worlds"]["drifting"]),
        "",
        *_trials(found),
        "",
        "![What is spent each day](optimization.svg)",
        "",
    ]
    return "\n".join(lines)


def _cut_short(seeds: int) -> str:
    """Say so where a page is of less than is to be shown."""
    return (
        f"**This is a shorter run than the {SEEDS} fleets that it takes to show it.** "
        if seeds < SEEDS
        else ""
    )


def _savings(found: dict[str, Any]) -> list[str]:
    lines = [
        "**Saved**, as a share of what is saved by who knows everything from the first ask on; where nothing can be "
        "saved, of what is spent. *Quality lost* is of the scale from 0 to 1, on average over all asks, against doing "
        "nothing. More than all is saved where a model stays in force that has become worse.",
        "",
        "| world | could be saved | rule | saved of that | saved of what is spent | quality lost |",
        "|---|---|---|---|---|---|",
    ]
    for name, world in found["worlds"].items():
        could = f"{world['could_percent']:.1f} %"
        for rule, row in world["rules"].items():
            share = "–" if row["saved_percent"] is None else f"{row['saved_percent']:.0f} %"
            cells = [
                NAMES[name],
                could,
                rule,
                share,
                f"{row['spent_less_percent']:.1f} %",
                f"{row['quality_lost'] + 0.0:.4f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _false(found: dict[str, Any]) -> list[str]:
    stated = found["stated_percent"]
    lines = [
        "**False adoptions**: fleets in which something was put into force, for a while or for good, that was truly "
        "not better then (less than 5 % cheaper, or more than 0.03 worse), with a 95 % interval. Stated are at most "
        f"{stated} %.",
        "",
        "| world | rule | fleets | share | 95 % interval | at most as stated | days in force, on average |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, world in found["worlds"].items():
        for rule, row in world["rules"].items():
            if rule == "nothing":
                continue
            cells = [
                NAMES[name],
                rule,
                f"{row['false_fleets']} of {found['seeds']}",
                f"{row['false_percent']:.1f} %",
                f"{row['false_low_percent']:.1f} to {row['false_high_percent']:.1f} %",
                _verdict(row, stated),
                f"{row['false_days']:.1f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    traps = [world for name, world in found["worlds"].items() if name != "cheaper"]
    number = found["seeds"] * len(traps)
    for rule in ("ops-stream", "greedy"):
        false = sum(world["rules"][rule]["false_fleets"] for world in traps)
        low, high = (100 * end for end in interval(false, number))
        row = {"false_percent": 100 * false / number, "false_low_percent": low, "false_high_percent": high}
        lines.append(
            f"| all but the first together | {rule} | {false} of {number} | {row['false_percent']:.1f} % "
            f"| {low:.1f} to {high:.1f} % | {_verdict(row, stated)} | |"
        )
    return lines


def _verdict(row: dict[str, Any], stated: float) -> str:
    """Say what the interval says of the stated rate."""
    if row["false_high_percent"] <= stated:
        return "yes"
    if row["false_low_percent"] > stated:
        return "**no**"
    return "the share is, the interval reaches beyond" if row["false_percent"] <= stated else "not shown"


def _revert(world: dict[str, Any]) -> list[str]:
    lines = [
        "**Time to revert**: of the drifting model, from the moment at which it becomes worse, where it was in force "
        "then. What was not taken back before the end counts as longer than all others.",
        "",
        "| rule | in force when it drifts | median | p90 | never taken back |",
        "|---|---|---|---|---|",
    ]
    for rule, row in world["rules"].items():
        if rule == "nothing":
            continue
        cells = [
            rule,
            f"{row['in_force_at_drift']}",
            _in_days(row["revert_days_median"]),
            _in_days(row["revert_days_p90"]),
            f"{row['never_reverted']}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _in_days(value: float | None) -> str:
    return "not before the end" if value is None else f"{value:.1f} days"


def _trials(found: dict[str, Any]) -> list[str]:
    lines = [
        "**Trials** of ops-stream, on average of its fleets. *Critical* are asks that are "
        "critical or name their model and got another because of it: there must be none.",
        "",
        "| world | trials | asks that a trial gave another model | asks that what is in force did | "
        "fleets that adopt what is better | approved to stay | critical |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, world in found["worlds"].items():
        row = world["rules"]["ops-stream"]
        cells = [
            NAMES[name],
            f"{row['trials']:.1f}",
            f"{row['touched']:.0f}",
            f"{row['changed']:.0f}",
            f"{row['adopting']}",
            f"{row['permanent']}",
            f"{row['critical_changed']}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _plot(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "optimization"  # the same figures give the same file
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(found["worlds"]), 1, figsize=(8, 10), sharex=True)
    for axis, (name, world) in zip(axes, found["worlds"].items(), strict=True):
        nothing = world["days"]["nothing"]
        for rule, spent in world["days"].items():
            share = [100 * day / usual for day, usual in zip(spent, nothing, strict=True)]
            axis.plot(range(1, len(share) + 1), share, STYLES[rule], label=rule)
        axis.set_title(NAMES[name], fontsize=10)
        axis.set_ylabel("% of nothing")
        axis.set_ylim(40, 106)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="upper center", ncols=len(STYLES))
    axes[-1].set_xlabel("day; what is spent, of what is spent where nothing is done")
    figure.tight_layout(rect=(0, 0, 1, 0.97))  # the legend stands above, where it hides no line
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
