"""`wapipe topics scale`: more partitions for the recipient topics, and everybody moved to theirs; or other lanes for a
number (`lanes_scale.py`).
"""

from __future__ import annotations

import click

from pipeline.cli.app import DURATION, shell_user, with_settings
from pipeline.cli.lanes_scale import LaneCount, scale_lanes
from pipeline.cli.output import SlowProgress, json_document, line, note, table
from pipeline.cli.scaling import KafkaCluster, situation, summary
from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.operations.reading import Reader, open_reader
from pipeline.records.layout import Layout
from pipeline.streams.scaling import Run, Step, plan, refusal

_WHAT = {
    "pause": "gates stop; requests wait on their topics, senders go on",
    "widen": "partitions for the tables",
    "move": "records go to their new partitions, tombstones stay behind",
    "append": "partitions for events, then for what comes in",
    "open": "gates go on: queued requests are re-routed in order",
}


@click.command()
@click.option("--recipients", "target", type=click.IntRange(1, 10_000), help="Partitions that recipients have then.")
@click.option("--lanes", type=LaneCount(), help="Lanes that a number has then, e.g. 200000000000001=4.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--reason", help="Why, for the audit.")
@click.option("--timeout", "timeout_ms", type=DURATION, default="2m", show_default=True, help="For each wait.")
@click.option(
    "--within", "within_ms", type=DURATION, default="30s", show_default=True,
    help="With --lanes: begin once what waits is sent in that time.",
)  # fmt: skip
@click.option("--json", "is_json", is_flag=True, help="Steps and figures as JSON on stdout.")
@with_settings
def scale(
    settings: Settings, target: int | None, lanes: tuple[str, int] | None, is_dry: bool, reason: str | None,
    timeout_ms: int, within_ms: int, is_json: bool,
) -> int:  # fmt: skip
    """Give the recipient topics more partitions, or a number other lanes, and move people to theirs.

    Recipients: gates stop while tables are moved, and go on by themselves; producers and senders just go on. Until a
    killed command is run again gates stand still. Partitions cannot be taken away.

    Lanes: gates stop for seconds. What waits on the number's lanes is sent at its full rate; its newer messages wait
    for that, codes too, so it begins only once little waits (--within). All other numbers go on. A number may get
    fewer lanes. Whatever `partitions` say in the settings of a process, the lanes on record are in force.

    Nothing is lost, sent twice or sent out of order. Killed at any point, the same command goes on where it was.

    \b
    Examples:
      wapipe topics scale --recipients 24 --dry-run
      wapipe topics scale --lanes 200000000000001=4
    """
    if (target is None) == (lanes is None):
        raise click.UsageError("Name one of --recipients and --lanes.")
    if lanes is not None:
        return scale_lanes(
            settings, lanes, is_dry=is_dry, reason=reason, timeout_s=timeout_ms / 1000, within_s=within_ms / 1000,
            is_json=is_json,
        )  # fmt: skip
    assert target is not None  # noqa: S101  one of the two is named
    layout, counts = situation(settings)
    why_not = refusal(layout, counts, target, unix_ms())
    if why_not is not None:
        if is_json:
            json_document(summary(layout, target, "refused", [], reason=why_not))
        note(why_not, "bad")
        return EXIT_NEGATIVE
    steps = plan(layout, counts, target)
    if not steps or is_dry:
        return _show(settings, layout, target, steps, is_json=is_json)
    return _run(settings, layout, target, steps, timeout_ms / 1000, reason, is_json=is_json)


def _show(settings: Settings, layout: Layout, target: int, steps: list[Step], *, is_json: bool) -> int:
    with open_reader(settings) as reader:
        records = _records(reader, layout, steps)
    if is_json:
        json_document(summary(layout, target, "planned" if steps else "unchanged", steps, records=records))
    elif not steps:
        line(("in order", "good"), f"recipients are on {target} partitions")
    else:
        rows = ((step.action, ", ".join(step.topics) or "-", _WHAT[step.action]) for step in steps)
        table(("step", "topics", f"{layout.partitions} to {target} partitions"), rows)
        line(("dry run", "wait"), f"nothing was changed; about {sum(records.values())} records would be read")
    return EXIT_DONE


def _records(reader: Reader, layout: Layout, steps: list[Step]) -> dict[str, int]:
    """About how many records are read of each table that is to be moved."""
    tables = [topic for step in steps if step.action == "move" for topic in step.topics]
    return {topic: sum(reader.records(topic, range(layout.partitions)).values()) for topic in tables}


def _run(
    settings: Settings, layout: Layout, target: int, steps: list[Step], timeout_s: float, reason: str | None,
    *, is_json: bool,
) -> int:  # fmt: skip
    def tell(action: str, what: str) -> None:
        if not is_json:
            line((action, "good"), what)

    with open_reader(settings) as reader, SlowProgress("moving records") as progress:
        records = _records(reader, layout, steps)
        total = sum(records.values())
        cluster, session_s = (
            KafkaCluster(settings, reader, shell_user(), reason),
            float(settings.kafka.session_timeout_s),
        )
        run = Run(cluster, layout, target, session_s, tell, lambda done: progress.update(done, max(done, total)))
        run.take(steps, timeout_s)
    if is_json:
        json_document(summary(layout, target, "done", steps, records=records, moved=run.copied))
    else:
        line(("done", "good"), f"recipients are on {target} partitions; set kafka.recipient_partitions = {target}")
    return EXIT_DONE
