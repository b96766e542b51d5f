"""What is seen while the campaign runs: a live table on a terminal, a line every few seconds elsewhere.

Rates and backlogs come from the topics (`tally.py`), limits and halts from the senders' /metrics. On the event loop;
the scrapes run in threads.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.cli.demo.tally import NumberTally, Tally
from pipeline.cli.local import scrape
from pipeline.cli.local_plan import Child
from pipeline.cli.output import STYLES, console, line
from pipeline.clock import steady_s, unix_ms
from pipeline.records.request import PRIORITIES

PLAIN_EVERY_S = 5.0
REFRESH_PER_S = 4
BAR_CHARS = 24
_SAMPLE = re.compile(r'^wapipe_number_stopped\{number="([^"]+)",reason="([^"]+)"\} 1(?:\.0)?$', re.MULTILINE)


def stops_of(exposition: str) -> dict[str, set[str]]:
    """Why numbers stand still, from a sender's metrics: reasons by number."""
    stops: dict[str, set[str]] = {}
    for number, reason in _SAMPLE.findall(exposition):
        stops.setdefault(number, set()).add(reason)
    return stops


class View:
    """Shows one run. Use it as a context manager.

    Args:
        limits: (requests per second, burst) by number.
        out: A terminal gets the live table; None: stdout.
    """

    def __init__(self, limits: Mapping[str, tuple[float, int]], out: Console | None = None) -> None:
        self._limits = limits
        self._out = out or console(sys.stdout)
        self._stops: dict[str, set[str]] = {}
        self._live: Live | None = None
        self._said_s = steady_s() - PLAIN_EVERY_S

    def __enter__(self) -> Self:
        if self._out.is_terminal:
            self._live = Live(console=self._out, refresh_per_second=REFRESH_PER_S, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    async def scrape(self, children: Iterable[Child]) -> None:
        """Ask the senders why their numbers stand still; one that does not answer says nothing."""
        senders = [child for child in children if child.name.startswith("sender")]
        answers = await asyncio.gather(*(asyncio.to_thread(scrape, child) for child in senders), return_exceptions=True)
        stops: dict[str, set[str]] = {}
        for answer in answers:
            if isinstance(answer, str):
                for number, reasons in stops_of(answer).items():
                    stops.setdefault(number, set()).update(reasons)
        self._stops = stops

    def note(self, text: str) -> None:
        """Say something that just happened; it stays on the screen."""
        if self._live is not None:
            self._live.console.print(Text(text, style=STYLES["wait"]))
        else:
            line((text, "wait"))

    def consents(self, done: int, total: int, elapsed_s: float) -> None:
        """How many consents the gate has taken."""
        if self._live is not None:
            self._live.update(Text(f"consents   {bar(done / total)} {done:,} of {total:,} in force, {elapsed_s:.0f} s"))
        elif self._is_due():
            line(f"consents   {done:,} of {total:,} in force after {elapsed_s:.0f} s")

    def consents_done(self, total: int, elapsed_s: float) -> None:
        """All consents are in force."""
        self.note(f"consents   {total:,} in force after {elapsed_s:.1f} s")

    def campaign(self, tally: Tally, total: int, elapsed_s: float) -> None:
        """How the campaign goes."""
        if self._live is not None:
            self._live.update(Group(Text(self.headline(tally, total, elapsed_s)), self._table(tally)))
        elif self._is_due():
            line(self.headline(tally, total, elapsed_s))
            for number in self._limits:
                name, rate, backlog, halted = self._cells(number, tally.numbers.get(number, NumberTally()))
                line(f"  {name}  {rate}; backlog {backlog}; halted: {halted}")

    def _is_due(self) -> bool:
        now_s = steady_s()
        if now_s - self._said_s < PLAIN_EVERY_S:
            return False
        self._said_s = now_s
        return True

    @staticmethod
    def headline(tally: Tally, total: int, elapsed_s: float) -> str:
        """The campaign in one line: how much has ended and how, and what messages were put off for."""
        ends = tally.ends
        refused = ends["rejected"] + ends["failed"] + ends["expired"]
        why = ", ".join(f"{count:,} {reason}" for reason, count in tally.deferred.most_common())
        return (
            f"{elapsed_s:4.0f} s  {bar(tally.ended / total)} {tally.ended:,} of {total:,} ended: {ends['accepted']:,}"
            f" accepted, {refused:,} refused or expired, {ends['dead-letter']} dead-lettered, {ends['duplicate']}"
            f" duplicate; {tally.deferred.total():,} deferrals{why and f' ({why})'},"
            f" {tally.statuses_received:,} statuses, {tally.stops} STOP"
        )

    def _table(self, tally: Tally) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in ("number", "rate now", "backlog", "halted"):
            table.add_column(column.upper())
        for number in self._limits:
            table.add_row(*self._cells(number, tally.numbers.get(number, NumberTally())))
        return table

    def _cells(self, number: str, tally: NumberTally) -> tuple[str, str, str, str]:
        rate_per_s, burst = self._limits[number]
        backlog = " ".join(f"{name} {tally.waiting[name]:,}" for name in PRIORITIES)
        rate = f"{tally.rate_per_s(unix_ms()):3.0f}/s of {rate_per_s:g}/s (bursts {burst})"
        return number, rate, backlog, ", ".join(sorted(self._stops.get(number, ()))) or "-"


def bar(share: float) -> str:
    """A bar of characters that is full at 1."""
    full = round(BAR_CHARS * min(1.0, max(0.0, share)))
    return "#" * full + "." * (BAR_CHARS - full)
