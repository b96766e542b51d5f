"""One person, several ids: where their records belong, how two ids become known as one person, what follows whom.

Everything about a person is keyed by the canonical form of the number. A user id is another *name* of an account: what
comes under it is re-routed to whom it leads to, and judged and merged there. A number that was given up is another
*number*: grants came along once, when the change was told; what is taken back under one is copied to the other, ever
after. Synchronous; runs in the gate's worker.

A link becomes known in three steps, each by an inbound event that is acknowledged when the next is on Kafka, so that it
survives a crash between any two: (1) an event names both ids: tell the alias' partition; (2) there: write where it
leads, hand its consent over, tell the other end's partition; (3) there: write who leads here, hand over what was taken
back. Each gate writes records of its own partitions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from pipeline.clock import rfc3339
from pipeline.gate.copying import MAX_CARRIED, update_for, updates_of
from pipeline.gate.item import Item, Out, traced
from pipeline.gate.view import View
from pipeline.records import alias
from pipeline.records.alias import ITSELF, MAX_HOPS, MAX_IDS, NAME, NUMBER, Link, read_links, read_person
from pipeline.records.canonical import canonical, is_name
from pipeline.records.codec import Headers, encode, header_of, headers_for, stable_id, trace_of
from pipeline.records.consent import ConsentUpdate
from pipeline.records.inbound import KIND_HEADER
from pipeline.records.inbound import SCHEMA as INBOUND_SCHEMA
from pipeline.records.returning import REROUTED_HEADER, TRUE
from pipeline.streams.partition import partition_of

ALIASES: Final = "recipient-aliases"
INBOUND: Final = "inbound-events"
UPDATES: Final = "consent-updates"
UPDATE_SCHEMA: Final = "consent-update/1"
ALWAYS: Final = "9999-12-31T23:59:59.999Z"
NEVER: Final = ""
_ROUTE_HEADERS: Final = frozenset({REROUTED_HEADER, alias.PERSON_HEADER})


class Found(NamedTuple):
    """Whom a record is about, and where that person's records are.

    Attributes:
        place: `here`; `elsewhere`: to be re-routed; `misrouted`: it was, for this person, and still is elsewhere.
        person: The id that everything is keyed by.
        home: The person's partition.
        hops: Steps over aliases so far.
    """

    place: Literal["here", "elsewhere", "misrouted"]
    person: str
    home: int
    hops: int

    def headers(self, kept: Headers, partitions: int) -> Headers:
        """Headers of the record on its way there.

        Args:
            partitions: Number of recipient partitions.
        """
        named = [alias.person_header(self.person, self.hops)] if self.hops else []
        return [*(pair for pair in kept if pair[0] not in _ROUTE_HEADERS), *named, _rerouted_among(partitions)]


class People:
    """Reads and writes the `recipient-aliases` table.

    Args:
        partitions: Number of recipient partitions.
        aliases: The `recipient-aliases` table.
        consents: The `consent` table.

    Attributes:
        partitions: The same.
    """

    def __init__(self, partitions: int, aliases: View, consents: View) -> None:
        self.partitions = partitions
        self._aliases = aliases
        self._consents = consents

    def find(self, recipient: str, partition: int, headers: Any) -> Found:
        """Say whom a record with this recipient is about. Numbers need no look-up: only names lead elsewhere.

        Args:
            recipient: As the record has it, normalised.
            partition: Where the record stands.
        """
        person, hops = read_person(headers) or (canonical(recipient), 0)
        sent_for = person if _was_rerouted(headers, self.partitions) else None
        while True:
            home = partition_of(person, self.partitions)
            if home != partition:
                return Found("misrouted" if person == sent_for else "elsewhere", person, home, hops)
            target = self._target(partition, person) if is_name(person) and hops < MAX_HOPS else None
            if target is None:
                return Found("here", person, home, hops)
            person, hops = target, hops + 1

    def ids_of(self, partition: int, person: str) -> list[str]:
        """The other ids of a person whose opt-outs count for this one, too."""
        record = self._aliases.get(partition, person.encode())
        return _others(record, person) if record is not None else []

    # -- what is taken back ------------------------------------------------------------------------------------------
    def spread(self, item: Item, raw: Mapping[str, Any], update: ConsentUpdate, person: str) -> list[Out]:
        """Copy a revoke to the person's other numbers, an erasure to what is left under names as well.

        Grants and resumes stay: a number that was given up may be somebody else's, whose yes is not this person's.
        """
        ids = self.ids_of(item.tp[1], person) if update.action in ("revoke", "erase") else []
        carried = [*(header_of(item.headers, alias.COPIED_HEADER) or b"").decode(errors="replace").split(), person]
        if len(carried) > MAX_CARRIED:
            return []
        return [
            _copy(item, update_for(raw, update, one), carried, stays=is_name(one))
            for one in ids
            if one not in carried and (update.action == "erase" or not is_name(one))
        ]

    # -- how ids become known ----------------------------------------------------------------------------------------
    def learned(self, item: Item) -> list[Out]:
        """Step 1: an inbound event names ids of one person; what is not known is told to the alias' partition."""
        links = read_links(item.headers)
        return [self._tell(item, link, link.alias) for link in links if not self._is_known(item.tp[1], link)]

    def linked(self, item: Item, link: Link) -> list[Out] | None:
        """Steps 2 and 3: a link is told to one of its ends; None: it does not belong here."""
        key = (item.key or b"").decode(errors="replace")
        home = partition_of(key, self.partitions)
        if home != item.tp[1]:
            # Told before there were more partitions, unless it is nobody's.
            is_lost = key not in (link.alias, link.recipient) or _was_rerouted(item.headers, self.partitions)
            return None if is_lost else [Out(INBOUND, key, item.value, _sent_on(item, self.partitions), home)]
        if key == link.alias:
            return self._lead(item, link)
        return self._gain(item, link) if key == link.recipient else None

    def _lead(self, item: Item, link: Link) -> list[Out]:
        known = self._record(item, link.alias)
        before, to = known["recipient"], link.recipient
        outs: list[Out] = []
        if is_name(link.alias):
            if before != link.alias and not is_name(before) and is_name(to):
                # A number is known: the other name leads there as well.
                return self._further(item, Link(to, before, NAME, link.hops + 1))
            if before not in (link.alias, to):
                kind = NAME if is_name(before) else NUMBER
                outs += self._further(item, Link(before, to, kind, link.hops + 1))
            for name in known["ids"]:
                outs += self._further(item, Link(name, to, NAME, link.hops + 1))
        outs += self._write(item, {**known, "recipient": to, "kind": link.kind})
        # A grant to a number that was given up before may be its next owner's.
        left_at = known["at"] if before == to else rfc3339(item.timestamp_ms)
        outs += self._hand_over(item, link.alias, to, ALWAYS if is_name(link.alias) else left_at)
        return [*outs, self._tell(item, link, to)]

    def _gain(self, item: Item, link: Link) -> list[Out]:
        known = self._record(item, link.recipient)
        outs: list[Out] = []
        if is_name(link.recipient) and known["recipient"] not in (link.recipient, link.alias):
            outs += self._further(item, Link(link.alias, known["recipient"], link.kind, link.hops + 1))
        ids = [*(one for one in known["ids"] if one != link.alias), link.alias]
        if len(ids) > MAX_IDS:
            ids.remove(next(filter(is_name, ids), ids[0]))
        outs += self._write(item, {**known, "ids": ids})
        if not is_name(link.alias):
            outs += self._hand_over(item, link.recipient, link.alias, NEVER)
        return outs

    def _hand_over(self, item: Item, person: str, to: str, granted_until: str) -> list[Out]:
        consent = self._consents.get(item.tp[1], person.encode())
        found = updates_of(consent, to, granted_until=granted_until) if consent is not None else ()
        return [_copy(item, update, [person]) for update in found]

    def _further(self, item: Item, link: Link) -> list[Out]:
        """What follows from a link for other ids; bounded."""
        if link.hops > MAX_HOPS or link.alias == link.recipient:
            return []
        link = alias.directed(link)
        return [self._tell(item, link, link.alias)]

    def _tell(self, item: Item, link: Link, key: str) -> Out:
        headers = traced(INBOUND_SCHEMA, item)
        headers = [*headers, (KIND_HEADER, b"account"), alias.link_header(link)]
        return Out(INBOUND, key, encode(_told(item, link, key)), headers, partition_of(key, self.partitions))

    # -- the table ---------------------------------------------------------------------------------------------------
    def _is_known(self, partition: int, link: Link) -> bool:
        """Whether the end that is written last shows the link; seen only where that end is at home."""
        record = self._aliases.get(partition, link.recipient.encode())
        return record is not None and link.alias in record.get("ids", [])

    def _target(self, partition: int, person: str) -> str | None:
        record = self._aliases.get(partition, person.encode())
        return None if record is None or record["recipient"] == person else str(record["recipient"])

    def _record(self, item: Item, key: str) -> dict[str, Any]:
        known = self._aliases.get(item.tp[1], key.encode())
        blank = {"alias": key, "recipient": key, "kind": ITSELF, "at": rfc3339(item.timestamp_ms), "ids": []}
        return {**blank, **(known or {})}

    def _write(self, item: Item, record: dict[str, Any]) -> list[Out]:
        partition, key = item.tp[1], record["alias"].encode()
        if self._aliases.get(partition, key) == record:
            return []
        record["at"] = rfc3339(item.timestamp_ms)
        stored = self._aliases.put(partition, key, record)
        return [Out(ALIASES, key, encode(record), traced(alias.SCHEMA, item), partition, stored)]


def _rerouted_among(partitions: int) -> tuple[str, bytes]:
    """The header of a re-routed record: among how many partitions. When there are more it may have to go on, once."""
    return REROUTED_HEADER, b"%d" % partitions


def _was_rerouted(headers: Any, partitions: int) -> bool:
    """Whether a record was re-routed among that many partitions; `TRUE` is how releases of before said so."""
    return header_of(headers, REROUTED_HEADER) in (TRUE, b"%d" % partitions)


def _sent_on(item: Item, partitions: int) -> Headers:
    kept = [pair for pair in item.headers or () if pair[0] != REROUTED_HEADER]
    return [*kept, _rerouted_among(partitions)]


def _others(record: Mapping[str, Any], person: str) -> list[str]:
    leads = [record["recipient"]] if record["recipient"] != person else []
    return list(dict.fromkeys([*leads, *record.get("ids", [])]))


def _copy(item: Item, update: Mapping[str, Any], carried: list[str], *, stays: bool = False) -> Out:
    """A copied update; one that `stays` is merged under its recipient, whatever that leads to."""
    extra = [(alias.COPIED_HEADER, " ".join(carried).encode())]
    if stays:
        extra.append(alias.person_header(update["recipient"], MAX_HOPS))
    headers = headers_for(UPDATE_SCHEMA, trace_of(item.headers), extra)
    return Out(UPDATES, update["recipient"], encode(update), headers)


def _told(item: Item, link: Link, key: str) -> dict[str, Any]:
    """An inbound-event/1 that says what the header says, for people and programs that read the topic."""
    at = rfc3339(item.timestamp_ms)
    value = {"alias": link.alias, "recipient": link.recipient, "kind": link.kind}
    return {
        "event_id": stable_id("alias", key, *link[:3]), "type": "account", "at": at, "received_at": at, "number": None,
        "recipient": key, "user_id": None, "message_id": None, "status": None, "request_id": None, "attempt": None,
        "error_code": None, "errors": [], "pricing": None, "profile": "gate",
        "body": {"field": "recipient-aliases", "value": value},
    }  # fmt: skip
