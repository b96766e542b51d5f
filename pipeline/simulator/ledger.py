"""The ledger: every request in arrival order, in columns (about 100–200 bytes a row), bounded.

Runs on the simulator's loop; `add` is on the path of every request, rendering is not. Columns keep millions of rows out
of the garbage collector's sight, so that a long run does not slow down.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import orjson

ROWS_PER_BLOCK = 65_536
TO_CHARS_MAX = 160
CALLBACK_CHARS_MAX = 512
TEXT_CHARS_MAX = 160


class Row(NamedTuple):
    """One request.

    Attributes:
        t_ns: Arrival, ns since the simulator's start (monotonic).
        sender: Number, or credential where the number is unknown.
        profile: `cloud`, `360dialog`, `v1` or `other` (not the messages endpoint).
        to: Recipient as it was written; the path for `other`. At most `TO_CHARS_MAX` characters.
        callback: `biz_opaque_callback_data`; "" = none.
        text: First text parameter or body, at most `TEXT_CHARS_MAX` characters.
        status: HTTP status of the answer; 0 = none was given.
        code: Error code of the answer; None = none.
        accepted: Whether the message was taken, whatever the client heard.
        message_id: Id of a taken message; "" = none.
        fault: Kind of the spell that hit it, `forced`, or "".
    """

    t_ns: int
    sender: str
    profile: str
    to: str
    callback: str
    text: str
    status: int
    code: int | None
    accepted: bool
    message_id: str
    fault: str


class _Block:
    """Up to `ROWS_PER_BLOCK` rows in columns; texts lie one after the other in one buffer."""

    __slots__ = ("accepted", "code", "ends", "fault", "lengths", "profile", "sender", "status", "t_ns", "texts")

    def __init__(self) -> None:
        self.t_ns = array("q")
        self.sender = array("I")
        self.profile = array("H")
        self.fault = array("H")
        self.status = array("H")
        self.code = array("q")
        self.accepted = array("B")
        self.ends = array("I")  # of a row's texts, in bytes
        self.lengths = array("H")  # of the first three of its four texts, in characters
        self.texts = bytearray()


class _Names:
    """Strings that repeat, kept once and known by a small number."""

    __slots__ = ("_index", "names")

    def __init__(self) -> None:
        self.names: list[str] = []
        self._index: dict[str, int] = {}

    def index(self, name: str) -> int:
        number = self._index.get(name)
        if number is None:
            number = self._index[name] = len(self.names)
            self.names.append(name)
        return number


_NO_CODE = -1


class Ledger:
    """Rows in arrival order, numbered from 0; beyond `rows_max` they are only counted in `dropped`."""

    def __init__(self, rows_max: int) -> None:
        """Keep at most `rows_max` rows."""
        self._rows_max = rows_max
        self._blocks: list[_Block] = []
        self._senders = _Names()
        self._labels = _Names()
        self._count = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self._count

    def add(self, row: Row) -> None:
        """Append a row."""
        if self._count >= self._rows_max:
            self.dropped += 1
            return
        if self._count % ROWS_PER_BLOCK == 0:
            self._blocks.append(_Block())
        block = self._blocks[-1]
        block.t_ns.append(row.t_ns)
        block.sender.append(self._senders.index(row.sender))
        block.profile.append(self._labels.index(row.profile))
        block.fault.append(self._labels.index(row.fault))
        block.status.append(row.status)
        block.code.append(_NO_CODE if row.code is None else row.code)
        block.accepted.append(row.accepted)
        to, callback, text = row.to[:TO_CHARS_MAX], row.callback[:CALLBACK_CHARS_MAX], row.text[:TEXT_CHARS_MAX]
        block.texts += f"{to}{callback}{text}{row.message_id}".encode()
        block.ends.append(len(block.texts))
        block.lengths.extend((len(to), len(callback), len(text)))
        self._count += 1

    def row(self, number: int) -> Row:
        """The row of that number.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= number < self._count:
            raise IndexError(number)
        block = self._blocks[number // ROWS_PER_BLOCK]
        at = number % ROWS_PER_BLOCK
        begin = block.ends[at - 1] if at else 0
        texts = block.texts[begin : block.ends[at]].decode()
        to_end = block.lengths[at * 3]
        callback_end = to_end + block.lengths[at * 3 + 1]
        text_end = callback_end + block.lengths[at * 3 + 2]
        code = block.code[at]
        return Row(
            t_ns=block.t_ns[at],
            sender=self._senders.names[block.sender[at]],
            profile=self._labels.names[block.profile[at]],
            to=texts[:to_end],
            callback=texts[to_end:callback_end],
            text=texts[callback_end:text_end],
            status=block.status[at],
            code=None if code == _NO_CODE else code,
            accepted=bool(block.accepted[at]),
            message_id=texts[text_end:],
            fault=self._labels.names[block.fault[at]],
        )

    def lines(self, since: int, to: int) -> Iterator[bytes]:
        """Rows `since` ≤ n < `to` as NDJSON lines, each with its number `n`."""
        for number in range(max(0, since), min(to, self._count)):
            yield orjson.dumps({"n": number, **self.row(number)._asdict()}, option=orjson.OPT_APPEND_NEWLINE)
