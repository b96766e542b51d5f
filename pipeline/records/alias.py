"""alias/1 on `recipient-aliases`: the other ids of a person, and the headers by which gate and ingress tell of them.

A record stands under each id that is not the only one of its person. A *name* (a user id) leads to the id that it is
another name of; a *number* that was given up leads to the new one and stays what it was. `ids` are those that lead
here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from pipeline.records.canonical import canonical, is_name
from pipeline.records.codec import header_of
from pipeline.records.request import normal_recipient

SCHEMA: Final = "alias/1"
LINKS_HEADER: Final = "wapipe-links"
"""On inbound events: two ids of one person that the webhook named."""
LINK_HEADER: Final = "wapipe-link"
"""On inbound events that gates write: one link, for the partition of one of its two ends."""
PERSON_HEADER: Final = "wapipe-person"
"""On what a gate re-routed because its recipient is an alias: steps so far, and where it leads."""
COPIED_HEADER: Final = "wapipe-copied"
"""On consent updates that a gate copied to another number of the same person: the numbers that have it."""

NAME: Final = "user_id"
NUMBER: Final = "number"
ITSELF: Final = "self"
MAX_IDS: Final = 16
"""Ids of one person: with more, the oldest user id is dropped (a change of number leaves one behind)."""
MAX_HOPS: Final = 4
"""Steps from an alias to an alias: in a longer chain, or a circle, a record is taken where it stands by then."""
MAX_LINKS: Final = 8
MAX_HEADER_BYTES: Final = 4096


class Link(NamedTuple):
    """Two ids of one person.

    Attributes:
        alias: The one that leads to the other.
        kind: `user_id`: another name of the same account; `number`: the old number of an account that moved.
        hops: Steps that led to this link, for the bound.
    """

    alias: str
    recipient: str
    kind: str
    hops: int = 0


def id_of(value: Any) -> str | None:
    """An id of a person in its canonical form; None: it is none."""
    try:
        return canonical(normal_recipient(value))
    except ValueError:
        return None


def directed(link: Link) -> Link:
    """The link so that it leads from a name to a number, and of two names to the lesser: so names lead in no circle."""
    is_turned = is_name(link.recipient) and (not is_name(link.alias) or link.recipient > link.alias)
    return link._replace(alias=link.recipient, recipient=link.alias) if is_turned else link


def links_header(links: Iterable[Link]) -> tuple[str, bytes]:
    """Header for an inbound event."""
    return LINKS_HEADER, orjson.dumps([[link.alias, link.recipient, link.kind] for link in links][:MAX_LINKS])


def read_links(headers: Any) -> list[Link]:
    """Links that an inbound event brings; what cannot be read brings none."""
    rows = _parsed(headers, LINKS_HEADER)
    links = [_link(row) for row in rows[:MAX_LINKS]] if isinstance(rows, list) else []
    return [link for link in links if link is not None]


def link_header(link: Link) -> tuple[str, bytes]:
    """Header for the record that brings a link to one of its ends."""
    return LINK_HEADER, orjson.dumps(list(link))


def read_link(headers: Any) -> Link | None:
    """The link that a gate brings here; None: none, or not readable."""
    return _link(_parsed(headers, LINK_HEADER))


def person_header(person: str, hops: int) -> tuple[str, bytes]:
    """Header for a record that was re-routed to whom its recipient is an alias of."""
    return PERSON_HEADER, f"{hops} {person}".encode()


def read_person(headers: Any) -> tuple[str, int] | None:
    """Person and steps so far; None: not re-routed by an alias, or not readable."""
    raw = header_of(headers, PERSON_HEADER)
    if raw is None or len(raw) > MAX_HEADER_BYTES:
        return None
    hops, _, person = raw.decode(errors="replace").partition(" ")
    known = id_of(person)
    return (known, int(hops)) if known is not None and hops.isascii() and hops.isdigit() and len(hops) < 3 else None


def is_alias(value: Mapping[str, Any]) -> bool:
    """Whether a stored value can be read: anybody who may write to the topic may have written it."""
    ids = value.get("ids", [])
    return (
        id_of(value.get("recipient")) is not None
        and isinstance(value.get("at"), str)
        and isinstance(ids, list)
        and all(id_of(one) is not None for one in ids)
    )


def _link(row: Any) -> Link | None:
    if not isinstance(row, list) or len(row) not in (3, 4) or row[2] not in (NAME, NUMBER):
        return None
    alias, recipient, hops = id_of(row[0]), id_of(row[1]), row[3] if len(row) == 4 else 0
    if alias is None or recipient is None or alias == recipient or type(hops) is not int:
        return None
    return directed(Link(alias, recipient, row[2], hops))


def _parsed(headers: Any, name: str) -> Any:
    raw = header_of(headers, name)
    if raw is None or len(raw) > MAX_HEADER_BYTES:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
