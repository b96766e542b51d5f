"""How a plan is shown: tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.cli.output import Cell, line, table
from pipeline.sizing.cluster import TopicLoad
from pipeline.sizing.costs import Assumption, Costs, Figure
from pipeline.sizing.fleet import MIB
from pipeline.sizing.limits import Limit, cells_needed
from pipeline.sizing.plan import Plan
from pipeline.sizing.simulation import Outcome, Stage
from pipeline.streams.topics import BY_NAME

LIMITS_SHOWN = 6
_UNITS = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def show_plan(plan: Plan) -> None:
    """Print a plan."""
    demand = plan.demand
    line(
        f"{demand.numbers:,} numbers at {demand.rate_per_s:,g}/s: {demand.peak_per_s:,.0f} messages/s at the peak,"
        f" {demand.webhooks_per_s:,.0f} webhooks/s; {demand.messages_per_day:,.0f} messages a day,"
        f" {demand.recipients:,.0f} people"
    )
    line()
    table(("processes", "count", "cores each", "cores", "memory each", "memory", "disk"), _processes(plan))
    line()
    table(("topics", "each", "partitions", "records/s", "written/s", "read/s", "disk"), _topics(plan))
    line()
    table(("limit", "used", "of", "part"), [_limit(limit) for limit in plan.limits[:LIMITS_SHOWN]])
    line()
    line(
        f"campaign   {demand.campaign_messages:,.0f} messages drain in {duration(plan.drain_s)}; on the way to the API:"
        f" {plan.connections:,} TLS connections at {demand.latency_ms:g} ms"
    )
    line(f"lanes      {plan.fleet.lanes:,}: {plan.fleet.lanes_per_number} per number")
    reason = max(plan.cluster.brokers_by, key=lambda name: plan.cluster.brokers_by[name])
    line(f"brokers    {plan.cluster.brokers:,}, by {reason}; {plan.cluster.replicas:,} replicas")
    for one in plan.breaks[:LIMITS_SHOWN]:
        word = ("stops at", "bad") if one.limit.stops else ("costs from", "wait")
        line(word, f"{one.numbers:,} numbers: {one.limit.name}: {one.limit.then}")
    if plan.breaks:
        first = next((one for one in plan.breaks if one.limit.stops), None)
        line(f"parts      {cells_needed(first, demand.numbers):,} groups of numbers, each below its first limit")


def show_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print what the runs of a simulation came to; the queues are those of the first, in which nothing fails."""
    calm = outcomes[0]
    line()
    line(f"simulated  a campaign of {calm.messages:,} messages, with codes; backlog by rate: {calm.ideal_s:.1f} s")
    line()
    table(("queue", "simulated", "load", "mean wait", "p99 wait", "longest"), [_stage(one) for one in calm.stages])
    line()
    table(("fails", "drained in", "codes p50", "p99", "worst", "longest silence"), [_run(one) for one in outcomes])


def _run(run: Outcome) -> tuple[Cell, ...]:
    codes = (f"{seconds * 1000:,.0f} ms" for seconds in (run.code_p50_s, run.code_p99_s, run.code_max_s))
    return run.fails, f"{run.drain_s:.1f} s", *codes, f"{run.silence_s:.1f} s"


def show_costs(figures: Costs) -> None:
    """Print every figure with where it comes from."""
    rows: list[tuple[Cell, ...]] = [
        (name, _value(one), one.unit, one.about, one.command, str(one.date)) for name, one in figures.figures.items()
    ]
    for name, curve in figures.curves.items():
        points = ", ".join(f"{cores:g} at {rate:,g}/s" for rate, cores in curve.points)
        rows.append((name, points, "cores", curve.about, curve.command, str(curve.date)))
    table(("measured", "value", "unit", "what", "command", "date"), rows)
    line()
    assumed = (
        (name, f"{one.value:,.8g}", one.unit, one.about, one.source) for name, one in figures.assumptions.items()
    )
    table(("assumed", "value", "unit", "what", "source"), assumed)


def size(count: float) -> str:
    """Bytes for people, decimal units."""
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count:,.0f} B"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _value(figure: Figure | Assumption) -> str:
    return f"{figure.value:,.8g}"


def _processes(plan: Plan) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = [
        (
            role.name, f"{role.processes:,}", f"{role.load:.2f}", f"{role.cores:,.1f}", size(role.memory_mib * MIB),
            size(role.processes * role.memory_mib * MIB), size(role.processes * role.disk_bytes),
        )
        for role in plan.fleet.roles
    ]  # fmt: skip
    brokers, cores = plan.cluster.brokers, plan.cluster.cores
    rows.append(("broker", f"{brokers:,}", f"{cores / brokers:.2f}", f"{cores:,.1f}", "-", "-",
                 size(plan.cluster.disk_bytes)))  # fmt: skip
    disk = plan.cluster.disk_bytes + plan.local_disk_bytes
    count = plan.fleet.processes + brokers
    rows.append(("all", f"{count:,}", "-", f"{plan.cores:,.1f}", "-", size(plan.memory_bytes), size(disk)))
    return rows


def _topics(plan: Plan) -> list[tuple[Cell, ...]]:
    """Sums by kind: recipient, lane, single."""
    rows: list[tuple[Cell, ...]] = []
    kinds = {"recipient": "by recipient", "lane": "by lane", "single": "single"}
    for kind, name in kinds.items():
        rows.append(_sum(name, [topic for topic in plan.cluster.topics if BY_NAME[topic.name].kind == kind]))
    rows.append(_sum("all", plan.cluster.topics))
    return rows


def _sum(name: str, topics: Sequence[TopicLoad]) -> tuple[Cell, ...]:
    return (
        name,
        f"{len(topics)}",
        f"{sum(topic.partitions for topic in topics):,}",
        f"{sum(topic.records_per_s for topic in topics):,.0f}",
        size(sum(topic.bytes_per_s for topic in topics)),
        size(sum(topic.read_bytes_per_s for topic in topics)),
        size(sum(topic.disk_bytes for topic in topics)),
    )


def _limit(limit: Limit) -> tuple[Cell, ...]:
    over = limit.utilisation > 1
    style = ("bad" if limit.stops else "wait") if over else "plain"
    if "bytes" in limit.unit:
        used, most = size(limit.used), size(limit.most)
    else:
        digits = 0 if limit.most > 10 else 2
        used, most = f"{limit.used:,.{digits}f} {limit.unit}", f"{limit.most:,.{digits}f}"
    return limit.name, used, most, (_part(limit.utilisation), style)


def _part(share: float) -> str:
    return f"{share:.1%}" if share < 10 else f"{share:,.0f} ×"


def _stage(stage: Stage) -> tuple[Cell, ...]:
    waits = (f"{seconds * 1000:,.1f} ms" for seconds in (stage.wait_mean_s, stage.wait_p99_s))
    return stage.name, str(stage.servers), f"{stage.load:.2f}", *waits, f"{stage.queue_max:,}"
