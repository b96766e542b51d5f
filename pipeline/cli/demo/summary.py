"""Prints the verdict: what became of everything, and the promises, each on a line of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.cli.demo.judge import STATUSES, Finding, Latency, Verdict
from pipeline.cli.output import Cell, line

ENDS = ("accepted", "rejected", "failed", "expired", "cancelled", "dead-lettered", "duplicate")
NAME_CHARS = 10
_DETAILED = ("rejected", "failed")


def show_summary(verdict: Verdict, limits: Mapping[str, tuple[float, int]], elapsed_s: float) -> None:
    """Print everything that the books say."""
    line()
    line((f"What became of {verdict.produced:,} requests, by the topics and the simulator's ledger", "good"))
    line()
    kept = "; ".join(f"{number} {rate:g}/s, bursts to {burst}" for number, (rate, burst) in limits.items())
    for name, *cells in [*summary_lines(verdict), ("limits", kept), ("took", f"{elapsed_s:.0f} s")]:
        line(f"  {name:<{NAME_CHARS}}", *cells)
    line()
    for finding in verdict.findings:
        _show_finding(finding)


def summary_lines(verdict: Verdict) -> Sequence[tuple[str, *tuple[Cell, ...]]]:
    """The figures, each a name and cells."""
    total = " + ".join(f"{verdict.ends[end]:,} {end}" for end in ENDS if verdict.ends[end] or end != "cancelled")
    balance: Cell = ("(adds up)", "good") if verdict.adds_up else (f"DOES NOT ADD UP: {verdict.ends.total():,}", "bad")
    lines: list[tuple[str, *tuple[Cell, ...]]] = [("produced", f"{verdict.produced:,} = {total}", balance)]
    for end in _DETAILED:
        reasons = [f"{count:,} {reason}" for (kind, reason), count in sorted(verdict.reasons.items()) if kind == end]
        if reasons:
            lines.append((end, ", ".join(reasons)))
    hits = ", ".join(f"{count} met a {kind}" for kind, count in sorted(verdict.hits.items())) or "none"
    lines.append(("throttled", f"{hits}; {verdict.retried} accepted later; {verdict.deferred} deferrals"))
    lines.append(("urgent", f"{_latency(verdict.urgent)} codes, from Kafka to the API"))
    if verdict.urgent_halted is not None:
        lines.append(("", f"{_latency(verdict.urgent_halted)} codes on a number that the API refused"))
    lines.append(("bulk", f"{_latency(verdict.bulk)} messages"))
    lines.append(("statuses", ", ".join(f"{verdict.statuses[one]:,} {one}" for one in STATUSES)))
    return lines


def _show_finding(finding: Finding) -> None:
    count: Cell = (str(finding.count), "good" if finding.count == 0 else "bad")
    examples = f"  e.g. {'; '.join(finding.examples)}" if finding.examples else ""
    line(f"{finding.name}:", count, *([(examples, "dim")] if examples else []))


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return "none"
    p50, p99 = _duration(latency.p50_ms), _duration(latency.p99_ms)
    return f"p50 {p50}, p99 {p99}, worst {_duration(latency.max_ms)} of {latency.messages:,}"


def _duration(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
