"""Writes what was measured: `latest.json`, a table in `README.md`, a plot."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

AIMS = """Aims: median at most 1.25 times and p99 at most 2 times the echo at the same rate; flat out at least half
of the Faust agent that does nothing, and above 5,000 decisions a second; under 2 KB per open ask; kill -9 to the next
decision within the session timeout + 2 s; at most 50 µs at p99 a decision with 1,000 policies on a 20-field event;
a kill within 1 s at the last partition; a report under 1 ms at the median."""


def write(results: dict[str, Any], target: Path) -> None:
    """Write everything below `target`."""
    target.mkdir(parents=True, exist_ok=True)
    samples = results.pop("samples")
    results["machine"] = _machine()
    results["measured_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    results["ratios"] = _ratios(results)
    (target / "latest.json").write_text(json.dumps(results, indent=2) + "\n")
    (target / "README.md").write_text(page(results))
    _plot(samples, target / "latency.png")


def write_part(name: str, found: dict[str, Any], target: Path) -> None:
    """Put one part that was measured alone among the results that are there."""
    path = target / "latest.json"
    results = json.loads(path.read_text())
    results[name] = found
    results.setdefault("measured_alone", {})[name] = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps(results, indent=2) + "\n")
    (target / "README.md").write_text(page(results))


def _machine() -> dict[str, Any]:
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "faust-streaming": version("faust-streaming"),
        "aiokafka": version("aiokafka"),
    }


def _ratios(results: dict[str, Any]) -> dict[str, float]:
    latency, flat = results["latency_ms"], results["flat_out_per_s"]
    ratios = {
        f"{point} at {rate}/s, of the echo": latency["ops-stream"][rate][point] / latency["echo"][rate][point]
        for rate in latency["echo"]
        for point in ("p50", "p99")
    }
    ratios["flat out, of Faust doing nothing"] = flat["ops-stream"] / flat["faust, doing nothing"]
    return ratios


def page(results: dict[str, Any]) -> str:
    """Give the page that shows the results."""
    machine, latency, flat = results["machine"], results["latency_ms"], results["flat_out_per_s"]
    lines = [
        "# Benchmarks",
        "",
        "`make bench` measures everything in one run on one machine, which carries broker, load and worker together. "
        "Figures are medians over rounds in which the systems take turns; ratios are what to compare.",
        "",
        f"Measured {results['measured_at'][:10]} on {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}, faust-streaming {machine['faust-streaming']}, "
        f"aiokafka {machine['aiokafka']}.",
        "",
        "| ask on the topic → answer on the topic | rate | p50 | p99 |",
        "|---|---|---|---|",
    ]
    for name in ("echo", "ops-stream"):
        for rate, point in latency[name].items():
            label = "bare aiokafka echo" if name == "echo" else "ops-stream, decided and journaled"
            lines.append(f"| {label} | {rate}/s | {point['p50']:.2f} ms | {point['p99']:.2f} ms |")
    lines += ["", "| flat out | a second |", "|---|---|"]
    lines += [f"| {name} | {rate:,.0f} |" for name, rate in flat.items()]
    lines += ["", "| ratio | |", "|---|---|"]
    lines += [f"| {name} | {ratio:.2f} |" for name, ratio in results["ratios"].items()]
    lines += _policies(results.get("policies", {}))
    alone = results.get("measured_alone", {})
    lines += _adapter(results.get("adapter", {}), alone.get("adapter", ""))
    lines += [
        "",
        f"Resident memory per open ask: {results['memory_bytes_per_open_ask']:.0f} bytes. kill -9 of a worker to the "
        f"next decision of a partition that it had: {results['failover_s']:.1f} s, at a session timeout of "
        f"{results['session_timeout_s']:.0f} s.",
        *_kill(results.get("kill_ms", {})),
        "",
        AIMS,
        "",
        "![Latency distributions](latency.png)",
        *_audit(results.get("audit", {}), alone.get("audit", "")),
        *_audit_live(results.get("audit_live", {}), alone.get("audit_live", "")),
        *_routers(results.get("routers", {}), alone.get("routers", "")),
        "",
    ]
    return "\n".join(lines)


def _kill(found: dict[str, float]) -> list[str]:
    """Show how soon the last partition's journal has a kill of everything."""
    if not found:
        return []
    said = ", ".join(f"{ms:,.0f} ms with {name}" for name, ms in found.items())
    return [
        "",
        f"`kill --all`, two workers, from the command to the last partition's journal record: {said}.",
    ]


def _policies(found: dict[str, dict[str, float]]) -> list[str]:
    """Show how long policies take, beside CEL evaluated one by one on the same events."""
    if not found:
        return []
    names = {
        "shipped": "the policies shipped",
        "usual": "as people write them",
        "hard": "hard to find by a comparison",
    }
    lines = [
        "",
        "| policies, processor time a decision, events of 20 fields | number | p50 | p99 | plain CEL p50 | p99 |",
        "|---|---|---|---|---|---|",
    ]
    for name, point in found.items():
        times = " | ".join(
            f"{point[key]:,.1f} µs" for key in ("p50_us", "p99_us", "cel_p50_us", "cel_p99_us")
        )
        lines.append(f"| {names.get(name, name)} | {point['policies']:,} | {times} |")
    return lines


def _adapter(found: dict[str, dict[str, float]], alone: str) -> list[str]:
    """Show how long a report holds up the agent that makes it."""
    if not found:
        return []
    when = f", measured {alone[:10]}" if alone else ""
    lines = ["", f"| until a report is handed over, in the caller{when} | p50 | p99 |", "|---|---|---|"]
    lines += [
        f"| {name} | {point['p50_us']:,.0f} µs | {point['p99_us']:,.0f} µs |" for name, point in found.items()
    ]
    return lines


AUDITED = {"shipped": "asks and reports, the shipped rules", "none": "asks alone, no rules"}
AUDITED_LIVE = {"reported": "asks, then their reports", "asked": "asks alone"}


def _audit(found: dict[str, Any], alone: str) -> list[str]:
    """Show how fast a journal is proved, and that memory does not grow with it."""
    if not found:
        return []
    when = f", measured {alone[:10]}" if alone else ""
    lines = [
        "",
        "## Proving the journal",
        "",
        f"`audit verify` of one partition, without a broker, on one core{when}. Deciding again is the same work as "
        f"deciding was; what is saved is the broker. Asks are remembered for {found['remember_s']:,} s of the "
        "journal's time, so that the state stays as large as it is.",
        "",
        "| a second of processor time | decided | proved | ratio |",
        "|---|---|---|---|",
    ]
    for kind, name in AUDITED.items():
        live, proved = found[kind]["live_per_s"], found[kind]["proved_per_s"]
        lines.append(f"| {name} | {live:,.0f} | {proved:,.0f} | {proved / live:.2f} |")
    lines += [
        "",
        "| records proved | memory |",
        "|---|---|",
    ]
    lines += [f"| {row['records']:,} | {row['rss_mib']:,.0f} MiB |" for row in found["shipped"]["rows"]]
    return lines


def _audit_live(found: dict[str, Any], alone: str) -> list[str]:
    """Show how fast the command proves what a worker wrote, beside how fast it was written."""
    if not found:
        return []
    when = f", measured {alone[:10]}" if alone else ""
    lines = [
        "",
        "With a broker, by the clock on the wall: one worker decides flat out under the shipped rules, beside "
        "the broker and the load; then `ops-stream audit verify` reads its journal and all that it published, in "
        f"one process, and in one a core ({found['cores']} cores{when}; medians of "
        f"{found['rounds']} rounds). One process proves a partition, so that more cores prove more side by side; "
        "one worker decides on one core, however many. The aim is 5 times.",
        "",
        "| records a second | decided | proved, one process | ratio | proved, all cores | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for kind, name in AUDITED_LIVE.items():
        one = found[kind]
        proved = " | ".join(
            f"{one[f'{how}_per_s']:,.0f} | {one[f'{how}_ratio']:.2f}" for how in ("one_job", "all_cores")
        )
        lines.append(f"| {name} | {one['live_per_s']:,.0f} | {proved} |")
    return lines


def _routers(found: dict[str, Any], alone: str) -> list[str]:
    """Show what choices of models cost beyond the best ones, and what was spent."""
    if not found:
        return []
    when = f", measured {alone[:10]}" if alone else ""
    return [
        "",
        "## Choosing the model",
        "",
        f"A generated workload whose truth is known (`tests/bench/workload.py`): {found['asks']:,} asks, played "
        f"through the core with {len(found['seeds'])} seeds{when}. The {found['models']} models, their prices and what "
        "is expected of them are the shipped catalogue's; what is true of each (quality by task type and a little by "
        "agent, latency, length, failures) is drawn around that, and the provider with most of the work is out for 15 "
        "% of the time. The sizes of the asks are real (Azure's code trace, Patel et al., Splitwise, ISCA 2024, CC BY "
        "4.0). Every router meets the same asks with the same luck. A miss is an answer that failed, came too late or "
        f"truly was not good enough; it counts {found['miss_usd']:.2f} $. **Regret** is what a router's choices cost "
        "on average, misses among it, beyond those of somebody who knows the truth and the outage. ops-stream learns "
        "for each agent, from the others of its tenant where it knows little; *each agent by itself* has a tenant of "
        "its own. epsilon-greedy (one of ten by chance) learns from all agents together, from the same reports, and "
        "knows what a miss costs.",
        *_table(found["routers"], f"{found['agents'][0]} agents, for 1,000 asks"),
        "",
        "**Cold start**: the same for a crowd of agents, so that each has few asks and begins with nothing of its own.",
        *_table(found["crowd"], f"{found['agents'][1]} agents, for 1,000 asks"),
        "",
        _caveat(found),
        *_judged(found["off_policy"]),
    ]


def _table(rows: dict[str, dict[str, float]], head: str) -> list[str]:
    lines = [
        "",
        f"| {head} | regret | least and most | of the first quarter | of the last | spent | missed | in the outage "
        "| an ask |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [
            f"{row['regret_usd']:.2f} $",
            f"{row['regret_usd_least']:.2f} to {row['regret_usd_most']:.2f} $",
            f"{row['regret_at_first_usd']:.2f} $",
            f"{row['regret_at_last_usd']:.2f} $",
            f"{row['spent_usd']:.2f} $",
            f"{row['missed_percent']:.1f} %",
            f"{row['missed_while_out_percent']:.1f} %",
            f"{row['ask_us']:.0f} µs",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _judged(found: dict[str, Any]) -> list[str]:
    """Show whether the history says of other routers what is true of them."""
    lines = [
        "",
        "**Judged by the history**: approvals tell how probable the model was that an ask got (`propensity`). With "
        f"{found['share']} % trying another model, {found['asks']:,} asks estimate by these alone what other routers "
        "would have lost (inverse propensity scoring); the truth is known here.",
        "",
        "| lost on 1,000 asks, misses among it | estimated, 95 % | in truth | standard errors off |",
        "|---|---|---|---|",
    ]
    for name, one in found["judged"].items():
        off = abs(one["estimate"] - one["truth"]) / one["error"]
        estimate = f"{1000 * one['estimate']:.2f} ± {1960 * one['error']:.2f} $"
        lines.append(f"| {name} | {estimate} | {1000 * one['truth']:.2f} $ | {off:.1f} |")
    return lines


def _caveat(found: dict[str, Any]) -> str:
    """Say what the tables do not show."""
    return (
        "What was drawn is a guess: where the truth is nearer to the catalogue, its figures deserve more weight, where "
        "it is farther less; where agents differ more, the others say less. With another price of a miss than "
        f"{found['miss_usd']:.2f} $ the order may be another. The shipped `evidence_weight` and `pool_weight` were "
        "chosen on this kind of workload, with other seeds."
    )


def _plot(samples: dict[str, list[float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.2))
    for name, values in samples.items():
        ordered = sorted(values)
        shares = [(index + 1) / len(ordered) for index in range(len(ordered))]
        style = "--" if name.startswith("echo") else "-"
        axes.plot(ordered, shares, style, label=name)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds from ask to answer")
    axes.set_ylabel("share of asks answered")
    axes.set_ylim(0, 1.01)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
