"""`wapipe topics scale --lanes NUMBER=COUNT`: other lanes for a number. Blocks, on the main thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from pipeline.cli.app import shell_user
from pipeline.cli.brokers import Brokers, partitions_of
from pipeline.cli.output import SlowProgress, json_document, line, note, table
from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.operations.account import MOVES, account_states, all_stops
from pipeline.operations.acts import Actor, Outgoing, audited
from pipeline.operations.arrivals import limit_of
from pipeline.operations.numbers import ACCOUNT, backlogs, require_number
from pipeline.operations.overrides import override_key, override_of
from pipeline.operations.reading import open_reader
from pipeline.operations.writing import perform, write_all
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.records.lanes import Lanes, lanes_in_force, lanes_key
from pipeline.streams.lane_scaling import Action, LaneRun, Waiting, plan, refusal, target_of
from pipeline.streams.layout import read_lanes
from pipeline.streams.topics import DELAYED, READY, TOPICS

LANE_TOPICS = tuple(topic.name for topic in TOPICS if topic.kind == "lane")
_WHAT: Mapping[Action, str] = {
    "extend": "partitions for the lane topics; senders own them",
    "wait": "until little waits: newer messages will wait for it",
    "pause": "gates stop for seconds; requests wait on their topics",
    "drain": "senders send what is left; newer messages wait on the new lanes",
    "open": "senders give up the lanes of before and begin with the new ones",
}


class LaneCount(click.ParamType):
    """An option that takes NUMBER=COUNT."""

    name = "NUMBER=COUNT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Number and count of a text."""
        if isinstance(value, tuple):
            return value
        number, _, count = str(value).partition("=")
        if not number or not count.isascii() or not count.isdigit() or not 1 <= int(count) <= 1000:
            self.fail(f"{value!r} is not NUMBER=COUNT, e.g. 200000000000001=4 (1 to 1000 lanes)", param, ctx)
        return number, int(count)


class KafkaLanes(Brokers):
    """The `LaneCluster` of a real run for one number; further arguments as `Brokers`."""

    def __init__(self, settings: Settings, number: str, actor: Actor, reason: str | None) -> None:
        super().__init__(settings, actor, reason)
        self._number = number
        self._known: dict[str, Any] | None = None

    def extend(self, partitions: int) -> None:
        """As `LaneCluster`.

        Raises:
            TopicsWrong: a lane topic is missing.
            BrokerUnreachable: the broker refused, or gave no answer in time.
            ScalingStopped: it took them, but does not show them.
        """
        self.widen(self._fewer(partitions), partitions, lambda: bool(self._fewer(partitions)))

    def _fewer(self, partitions: int) -> list[str]:
        counts = partitions_of(self._settings, LANE_TOPICS)
        return [name for name, count in counts.items() if count < partitions]

    def are_owned(self, partitions: Iterable[int]) -> bool:
        """As `LaneCluster`."""
        members = self.members_of("sender")
        first = self._settings.topic(READY[0])
        owned = {
            tp.partition
            for member in members
            for tp in (member.assignment.topic_partitions if member.assignment is not None else ())
            if tp.topic == first
        }
        return not members or owned.issuperset(partitions)

    def waiting(self, lanes: Lanes) -> Waiting:
        """As `LaneCluster`."""
        before = {number: Lanes(()) for number in self._settings.numbers} | {self._number: Lanes(lanes.partitions)}
        found = backlogs(self._settings, before)[self._number]
        return sum(found[name] for name in READY), sum(found[name] for name in DELAYED)

    def lanes(self) -> Lanes | None:
        """As `LaneCluster`."""
        return read_lanes(self._settings)[self._number]

    def journal(self, lanes: Lanes, audit: str | None = None) -> None:
        """As `LaneCluster`.

        Raises:
            BrokerUnreachable: Kafka did not take it in time.
        """
        after = lanes.record(self._number, unix_ms(), self._actor.name)
        record = Outgoing(ACCOUNT, lanes_key(self._number), encode(after), headers_for(SCHEMA))
        if audit is None:
            write_all(self._settings, [record])
        else:
            act = audited(
                self._actor, "scale", f"number:{self._number}", reason=self._reason, before=self._known,
                after={"audit": audit, **after}, records=(record,),
            )  # fmt: skip
            perform(self._settings, act)
        self._known = after


def scale_lanes(
    settings: Settings, wanted: tuple[str, int], *, is_dry: bool, reason: str | None, timeout_s: float,
    within_s: float, is_json: bool,
) -> int:  # fmt: skip
    """Show or take the steps to so many lanes of a number.

    Returns:
        Exit code.
    """
    number, count = wanted
    require_number(settings, number)
    with open_reader(settings) as reader:
        states = account_states(reader)
    everybody = lanes_in_force(settings, states.get)
    lanes, now_ms = everybody[number], unix_ms()
    lifted = override_of(states.get(override_key(number), {}), now_ms)
    stops = [one for one in all_stops(settings, number, states, lifted, now_ms) if not one.startswith(MOVES)]
    actions, target = plan(lanes, count), target_of(settings, number, count, everybody)

    def document(state: str, **more: Any) -> None:
        json_document(
            {"number": number, "from": list(lanes.partitions), "to": list(target), "state": state,
             "steps": list(actions), **more}
        )  # fmt: skip

    why_not = refusal(number, lanes, count, stops)
    if why_not is not None:
        if is_json:
            document("refused", reason=why_not)
        note(why_not, "bad")
        return EXIT_NEGATIVE
    if not actions:
        if is_json:
            document("unchanged")
        else:
            line(("in order", "good"), f"{number} has {count} lanes: {list(lanes.partitions)}")
        return EXIT_DONE
    cluster = KafkaLanes(settings, number, shell_user(), reason)
    rate_per_s, _ = limit_of(settings, number)
    if is_dry:
        ready, delayed = cluster.waiting(lanes)
        if is_json:
            document("planned", waiting=ready, delayed=delayed, drain_s=round(ready / rate_per_s, 1))
        else:
            table(("step", f"{list(lanes.partitions)} to {list(target)}"), ((one, _WHAT[one]) for one in actions))
            what = f"{ready} messages wait ({ready / rate_per_s:.0f} s at its rate), {delayed} are delayed"
            line(("dry run", "wait"), f"nothing was changed; {what}")
        return EXIT_DONE

    def tell(action: str, what: str) -> None:
        if not is_json:
            line((action, "good"), what)

    with SlowProgress(f"sending what waits of {number}", "messages") as progress:
        LaneRun(cluster, lanes, target, rate_per_s, tell, progress.update).take(actions, timeout_s, within_s)
    if is_json:
        document("done")
    else:
        line(("done", "good"), f"{number} has {count} lanes; set numbers.{number}.partitions = {list(target)}")
    return EXIT_DONE
