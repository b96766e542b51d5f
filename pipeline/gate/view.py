"""A table as the gate has to see it: what came back through its changelog, and on top what is on its way there.

A record that the gate writes comes back a moment later. Until then it lies here, so that the next update and the next
judgement build on it. Touched on the event loop only; reads RocksDB, which takes microseconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
import structlog

log = structlog.get_logger(__name__)

OVERLAY_MAX: Final = 50_000
"""Beyond this the gate takes no more updates until the table has caught up."""


class View:
    """One table.

    Args:
        read: Reads the table: (partition, key) → the value's bytes, or None.
        applied: Offset of the last changelog record that the table shows, by partition; -1: none.
        is_sound: Whether a stored object is one that the rules can read; what is not counts as absent.
    """

    def __init__(
        self,
        read: Callable[[int, bytes], bytes | None],
        applied: Callable[[int], int],
        is_sound: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        self._read = read
        self._applied = applied
        self._is_sound = is_sound
        self._ahead: dict[int, OrderedDict[bytes, list[Any]]] = {}

    def get(self, partition: int, key: bytes) -> dict[str, Any] | None:
        """The newest value of a key, or None."""
        ahead = self._ahead.get(partition)
        if ahead:
            there = ahead.get(key)
            if there is not None:
                value: dict[str, Any] | None = there[0]
                return value
        raw = self._read(partition, key)
        return self._parse(raw, partition) if raw is not None else None

    def put(self, partition: int, key: bytes, value: dict[str, Any] | None) -> Callable[[int], None]:
        """Note a value (None: a tombstone) that is being written; call what is returned with its offset once stored."""
        entry: list[Any] = [value, None]
        ahead = self._ahead.setdefault(partition, OrderedDict())
        ahead[key] = entry
        ahead.move_to_end(key)

        def stored(offset: int) -> None:
            entry[1] = offset

        return stored

    def sweep(self) -> None:
        """Drop what the table shows by now, oldest first."""
        for partition, ahead in self._ahead.items():
            if not ahead:
                continue
            applied = self._applied(partition)
            while ahead:
                key, (_, offset) = next(iter(ahead.items()))
                if offset is None or offset > applied:
                    break
                del ahead[key]

    def __len__(self) -> int:
        """Values that the table does not show yet."""
        return sum(map(len, self._ahead.values()))

    @property
    def is_full(self) -> bool:
        """Whether the table is too far behind for more."""
        return len(self) >= OVERLAY_MAX

    def forget(self) -> None:
        """The partitions are no longer ours."""
        self._ahead.clear()

    def _parse(self, raw: bytes, partition: int) -> dict[str, Any] | None:
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            value = None
        if isinstance(value, dict) and self._is_sound(value):
            return value
        log.error("table_value_unreadable", partition=partition, bytes=len(raw))
        return None
