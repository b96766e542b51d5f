"""Keeps the read model within its days and bytes: the oldest messages go first, a chunk at a time. Thread of the feed.

What campaigns came to stays for as long as the campaign was heard of within the days.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from pipeline.records.tier import COUNTED_MS

DAY_MS: Final = 86_400_000
CHUNK: Final = 2_000
FREED_PAGES: Final = 4_000


def bytes_used(connection: sqlite3.Connection) -> int:
    """What the tables take of the file, bytes; pages that wait to be used again are left out."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def prune(connection: sqlite3.Connection, *, before_ms: int, max_bytes: int) -> bool:
    """Delete one chunk of what is too old, or, above `max_bytes`, of what is oldest.

    Args:
        before_ms: What was heard of last before this moment goes.

    Returns:
        Whether there may be more to delete: call it again soon.
    """
    is_full = bytes_used(connection) > max_bytes
    connection.execute("BEGIN IMMEDIATE")
    chunk = connection.execute(
        "SELECT max(id), max(last_ms) FROM (SELECT id, last_ms FROM messages ORDER BY id LIMIT ?)", (CHUNK,)
    ).fetchone()
    has_more = False
    if chunk[0] is not None and (is_full or chunk[1] < before_ms):
        connection.execute("DELETE FROM events WHERE message <= ?", (chunk[0],))
        has_more = connection.execute("DELETE FROM messages WHERE id <= ?", (chunk[0],)).rowcount == CHUNK
        if is_full:
            before_ms = max(before_ms, chunk[1])
    for table in ("consent_events", "heard", "dead_letters", "acts"):
        connection.execute(f"DELETE FROM {table} WHERE at_ms < ?", (before_ms,))  # noqa: S608  names of ours
    over = connection.execute("SELECT name FROM campaigns WHERE last_ms < ?", (before_ms,)).fetchall()
    for table in ("campaign_counts", "campaign_slots"):
        connection.executemany(f"DELETE FROM {table} WHERE campaign = ?", over)  # noqa: S608  names of ours
    connection.executemany("DELETE FROM campaigns WHERE name = ?", over)
    connection.execute("COMMIT")
    connection.execute(f"PRAGMA incremental_vacuum({FREED_PAGES})").fetchall()
    return has_more


def forget_tiers(connection: sqlite3.Connection, now_ms: int) -> None:
    """Delete people who do not count for a tier any more."""
    connection.execute("DELETE FROM tier_people WHERE at_ms <= ?", (now_ms - COUNTED_MS,))
