"""What became of campaigns, by the read model. Functions over a reading connection; every query has a limit."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.console.fold import FUNNEL, SLOT_MS

MAX_CAMPAIGNS: Final = 200
MAX_STEPS: Final = 300
MAX_OPT_OUTS: Final = 20_000
OPT_OUT_AFTER_MS: Final = 3 * 86_400_000
"""An opt-out so long after a message of a campaign is counted as the campaign's."""


@dataclass(slots=True)
class Funnel:
    """What became of a campaign.

    Attributes:
        counts: Messages by what they count as (`fold.counts_of`), but reasons.
        reasons: Messages by the reason of their end.
        opt_outs: People who opted out within three days of a message of it, their last one of any campaign.
    """

    name: str
    first_ms: int
    last_ms: int
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    opt_outs: int = 0

    @property
    def open(self) -> int:
        """Messages that have not ended."""
        return self.counts.get("all", 0) - self.counts.get("ended", 0)


def campaigns(db: sqlite3.Connection) -> list[Funnel]:
    """Campaigns, that of the newest event first; without their opt-outs."""
    rows = db.execute("SELECT name, first_ms, last_ms FROM campaigns ORDER BY last_ms DESC LIMIT ?", (MAX_CAMPAIGNS,))
    return [_counted(db, Funnel(*row)) for row in rows.fetchall()]


def campaign(db: sqlite3.Connection, name: str) -> Funnel | None:
    """One campaign; None: no message of it was heard of."""
    row = db.execute("SELECT name, first_ms, last_ms FROM campaigns WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    funnel = _counted(db, Funnel(*row))
    funnel.opt_outs = _opt_outs(db, funnel)
    return funnel


def _counted(db: sqlite3.Connection, funnel: Funnel) -> Funnel:
    for what, count in db.execute("SELECT what, count FROM campaign_counts WHERE campaign = ?", (funnel.name,)):
        kind, _, reason = what.partition(":")
        if reason:
            funnel.reasons[reason] = count
        else:
            funnel.counts[kind] = count
    return funnel


def _opt_outs(db: sqlite3.Connection, funnel: Funnel) -> int:
    """Opt-outs are few and messages many: so each opt-out is asked which campaign's message came before it.

    The message may have gone to another id of the person; the gate copies an opt-out to their other numbers, so what
    is counted are those who were written to.
    """
    row = db.execute(
        "SELECT count(DISTINCT messages.person) FROM (SELECT (SELECT id FROM messages WHERE person IN"
        " (SELECT gone.person UNION ALL SELECT recipient FROM aliases WHERE id = gone.person"
        " UNION ALL SELECT id FROM aliases WHERE recipient = gone.person)"
        " AND campaign IS NOT NULL AND stages > 1 AND first_ms <= gone.at_ms AND first_ms > gone.at_ms - ?"
        " ORDER BY id DESC LIMIT 1) AS last FROM (SELECT person, at_ms FROM consent_events INDEXED BY opt_outs"
        " WHERE is_opt_out AND at_ms BETWEEN ? AND ? LIMIT ?) AS gone)"
        " JOIN messages ON messages.id = last WHERE messages.campaign = ?",
        (OPT_OUT_AFTER_MS, funnel.first_ms, funnel.last_ms + OPT_OUT_AFTER_MS, MAX_OPT_OUTS, funnel.name),
    ).fetchone()
    return int(row[0])


class Course(NamedTuple):
    """How many messages of a campaign reached each stage, and when.

    Attributes:
        first_ms: Where the first of its steps begins.
        step_ms: How long each is.
        counts: By stage, one for each step.
    """

    first_ms: int
    step_ms: int
    counts: Mapping[str, Sequence[int]]


def course(db: sqlite3.Connection, name: str) -> Course | None:
    """A campaign over time, in at most `MAX_STEPS`; None: no message of it was admitted yet."""
    first, last = db.execute("SELECT min(slot), max(slot) FROM campaign_slots WHERE campaign = ?", (name,)).fetchone()
    if first is None:
        return None
    width = -(-(last - first + 1) // MAX_STEPS)  # slots per step, rounded up
    counts = {stage: [0] * ((last - first) // width + 1) for stage in FUNNEL}
    rows = db.execute(
        "SELECT (slot - ?) / ? AS step, stage, sum(count) FROM campaign_slots WHERE campaign = ? GROUP BY step, stage",
        (first, width, name),
    )
    for step, stage, count in rows:
        counts[stage][step] = count
    return Course(first * SLOT_MS, width * SLOT_MS, counts)
