"""The read model's tables. One file; one connection writes, any number read.

Sized for five million events: the events of a message lie together (their table is clustered by message), so that a
search costs one look at an index and one at each message found, and a repeated event meets its first copy on the page
that is in memory anyway.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

VERSION: Final = 3
"""Raised with every change of the tables: a file of another version is made anew from Kafka."""
WRITER_CACHE_KIB: Final = 65_536
READER_CACHE_KIB: Final = 8_192
BUSY_MS: Final = 5_000

TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (
    topic TEXT, part INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, part)
) WITHOUT ROWID;

CREATE TABLE messages (
    id INTEGER PRIMARY KEY, number TEXT, request_id TEXT, person TEXT, recipient TEXT, business TEXT, category TEXT,
    priority TEXT, campaign TEXT, message_id TEXT, stages INTEGER NOT NULL, end TEXT, reason TEXT,
    is_waiting INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL
);
CREATE INDEX message_by_request ON messages (request_id, number) WHERE request_id IS NOT NULL;
CREATE INDEX message_by_person ON messages (person) WHERE person IS NOT NULL;
CREATE INDEX message_by_message_id ON messages (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX message_by_campaign ON messages (campaign) WHERE campaign IS NOT NULL;
CREATE TABLE events (
    message INTEGER, uid BLOB, at_ms INTEGER NOT NULL, origin TEXT NOT NULL, place TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (message, uid)
) WITHOUT ROWID;

CREATE TABLE campaigns (name TEXT PRIMARY KEY, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE campaign_counts (
    campaign TEXT, what TEXT, count INTEGER NOT NULL, PRIMARY KEY (campaign, what)
) WITHOUT ROWID;
CREATE TABLE campaign_slots (
    campaign TEXT, slot INTEGER, stage TEXT, count INTEGER NOT NULL, PRIMARY KEY (campaign, slot, stage)
) WITHOUT ROWID;

CREATE TABLE aliases (id TEXT PRIMARY KEY, recipient TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX alias_by_recipient ON aliases (recipient);
CREATE TABLE tier_people (
    portfolio TEXT, person TEXT, at_ms INTEGER NOT NULL, PRIMARY KEY (portfolio, person)
) WITHOUT ROWID;
CREATE INDEX tier_people_by_time ON tier_people (at_ms, portfolio);

CREATE TABLE consents (person TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE consent_events (
    person TEXT, uid BLOB, at_ms INTEGER NOT NULL, is_opt_out INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (person, uid)
) WITHOUT ROWID;
CREATE INDEX opt_outs ON consent_events (at_ms, person) WHERE is_opt_out;
CREATE TABLE heard (
    person TEXT, uid BLOB, at_ms INTEGER NOT NULL, place TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (person, uid)
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    part INTEGER, at INTEGER, at_ms INTEGER NOT NULL, topic TEXT NOT NULL, stage TEXT NOT NULL, code TEXT NOT NULL,
    message TEXT NOT NULL, size INTEGER NOT NULL, key BLOB, value BLOB, headers BLOB NOT NULL, PRIMARY KEY (part, at)
) WITHOUT ROWID;
CREATE INDEX dead_letter_by_time ON dead_letters (at_ms);
CREATE TABLE acts (
    uid TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, target TEXT NOT NULL, action TEXT NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX act_by_time ON acts (at_ms);
CREATE INDEX act_by_target ON acts (target);
"""


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes; makes the tables if they are not there. May move between threads, one at a time.

    Commits do not wait for the disk: what a crash of the machine takes away is read from Kafka again, and the file is
    whole all the same.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.executescript(
        f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{WRITER_CACHE_KIB};"
        "PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000;"
    )
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        connection.executescript(f"PRAGMA auto_vacuum = INCREMENTAL; BEGIN; {TABLES} COMMIT;")
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that can only read; for one thread.

    Raises:
        sqlite3.OperationalError: there is no such file.
    """
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA query_only = ON")
    return connection
