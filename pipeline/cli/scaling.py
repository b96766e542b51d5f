"""What a run of `wapipe topics scale` (`streams/scaling.py`) needs of Kafka. Blocks, on the main thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from pipeline.cli.brokers import Brokers, partitions_of
from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.operations.acts import Actor, Outgoing, audited
from pipeline.operations.reading import Reader
from pipeline.operations.writing import perform, write_all
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.records.layout import KEY, Layout
from pipeline.streams.layout import ACCOUNT, read_layout
from pipeline.streams.scaling import RECIPIENT_TOPICS, Moved, Record, Step, present
from pipeline.streams.topics import Change

TARGET: Final = "topics:recipients"


def counts_of(settings: Settings) -> dict[str, int]:
    """Partitions of every recipient topic.

    Raises:
        TopicsWrong: one is missing.
        BrokerUnreachable: no broker answered in time.
    """
    return partitions_of(settings, RECIPIENT_TOPICS)


def note_layout(settings: Settings, changes: Iterable[Change], by: str) -> None:
    """Write down what topics were just made with: partitions that somebody adds later by a bare alter then show."""
    made = {change.topic for change in changes if change.action == "create"}
    if made.issuperset(RECIPIENT_TOPICS):
        write_all(settings, [_journalled(Layout(counts_of(settings)["consent"]), by)])


def situation(settings: Settings) -> tuple[Layout, dict[str, int]]:
    """The layout that people are in, and the partitions that there are."""
    counts = counts_of(settings)
    return present(read_layout(settings), counts), counts


def layout_record(layout: Layout, by: str) -> dict[str, Any]:
    """A layout as it stands on the topic, as of now."""
    return layout.record(unix_ms(), by)


def _journalled(layout: Layout, by: str) -> Outgoing:
    return Outgoing(ACCOUNT, KEY, encode(layout_record(layout, by)), headers_for(SCHEMA))


class KafkaCluster(Brokers):
    """The `Cluster` of a real run for the recipients; arguments but `reader` as `Brokers`."""

    def __init__(self, settings: Settings, reader: Reader, actor: Actor, reason: str | None) -> None:
        super().__init__(settings, actor, reason)
        self._reader = reader
        self._known: Layout | None = None

    def extend(self, topics: Iterable[str], partitions: int) -> None:
        """As `Cluster`.

        Raises:
            BrokerUnreachable: the broker refused, or gave no answer in time.
            ScalingStopped: it took them, but does not show them.
        """
        wanted = list(topics)

        def fewer() -> bool:
            counts = counts_of(self._settings)
            return any(counts[name] < partitions for name in wanted)

        self.widen(wanted, partitions, fewer)

    def records(self, topic: str, partition: int) -> Iterator[Record]:
        """As `Cluster`."""
        for row in self._reader.to_end(topic, partitions=[partition], with_headers=True):
            yield row.key, row.value, list(row.headers)

    def write(self, topic: str, records: Iterable[Moved]) -> None:
        """As `Cluster`.

        Raises:
            BrokerUnreachable: Kafka did not take one in time.
        """
        write_all(self._settings, (Outgoing(topic, *record) for record in records))

    def layout(self) -> Layout | None:
        """As `Cluster`."""
        return read_layout(self._settings)

    def journal(self, layout: Layout, audit: str | None = None) -> None:
        """As `Cluster`.

        Raises:
            BrokerUnreachable: Kafka did not take it in time.
        """
        record = _journalled(layout, self._actor.name)
        if audit is None:
            write_all(self._settings, [record])
        else:
            before = layout_record(self._known, self._actor.name) if self._known is not None else None
            after = {"audit": audit, **layout_record(layout, self._actor.name)}
            act = audited(
                self._actor, "scale", TARGET, reason=self._reason, before=before, after=after, records=(record,)
            )  # fmt: skip
            perform(self._settings, act)
        self._known = layout


def summary(layout: Layout, target: int, state: str, steps: Iterable[Step], **more: Any) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "from": layout.partitions, "to": target, "state": state,
        "steps": [{"action": step.action, "topics": list(step.topics)} for step in steps], **more,
    }  # fmt: skip
