"""One person, several ids: an opt-out under any of them ends what goes to the others, at the gate."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Any

import orjson
import pytest

from pipeline.gate.copying import MAX_CARRIED
from pipeline.gate.item import Item, Kind, Out
from pipeline.gate.people import Found
from pipeline.gate.requests import Prepared, Wait
from pipeline.records.account import Alias
from pipeline.records.alias import MAX_HOPS, MAX_IDS, Link, link_header, links_header, person_header
from pipeline.records.codec import Record, check
from pipeline.records.consent import ConsentUpdate
from pipeline.records.inbound import InboundEvent
from pipeline.streams.partition import partition_of
from tests.unit.gate import making
from tests.unit.gate.making import ADA, NOW_MS, NUMBER, PARTITIONS, Tables, body

NEW, USER, NEXT = "15550108888", "US.134912", "US.777"
BRAZIL, BRAZIL_ID = "5511987654321", "551187654321"
STOP_AT = "2026-11-21T08:00:00.000Z"
STEPS_MAX = 500


class World:
    """All gates as one: what they write to an entrance is read again, on the partition that it was written to."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.told: list[Out] = []
        self._queue: deque[tuple[str, Out]] = deque()
        self._offset = 0

    def update(self, recipient: str, **fields: Any) -> None:
        """A consent update, as upstream or the ingress writes it."""
        self._write("consent-updates", making.update(recipient=recipient, **fields), recipient)

    def stop(self, recipient: str, **fields: Any) -> None:
        """A STOP."""
        how = {"update_id": f"stop-{recipient}", "action": "revoke", "categories": ["*"], "at": STOP_AT, **fields}
        self.update(recipient, **how)

    def links(self, *links: Link, key: str = ADA) -> None:
        """An inbound event that names ids together; like every status it is not looked into."""
        self._write("inbound-events", {}, key, [("wapipe-kind", b"status"), links_header(links)])

    def write_to(self, recipient: str, **fields: Any) -> tuple[str, str | None]:
        """(type, reason) of a request's event."""
        self.told.clear()
        self._write("outbound-requests", making.request(to=recipient, **fields), recipient)
        event = next(body(out) for out in self.told if out.topic == "outbound-events")
        return event["type"], event["reason"]

    def alias(self, one: str) -> dict[str, Any] | None:
        """The record of an id."""
        return self.tables.aliases.get(partition_of(one, PARTITIONS), one.encode())

    def statuses(self, one: str) -> list[tuple[str, str, str]]:
        """(category, status, at) that stand under an id."""
        consent = self.tables.consents.get(partition_of(one, PARTITIONS), one.encode())
        return [(entry["category"], entry["status"], entry["at"]) for entry in consent["entries"]] if consent else []

    def message(self, recipient: str) -> None:
        """A person's message, an hour ago."""
        self._write(
            "inbound-events", making.message_event(recipient=recipient, at="2026-11-22T09:00:00.000Z"), recipient
        )

    def _write(self, topic: str, value: dict[str, Any], key: str, headers: Any = ()) -> None:
        self._queue.append((topic, Out(topic, key, orjson.dumps(value), headers)))
        for _ in range(STEPS_MAX):
            if not self._queue:
                return
            self._step(*self._queue.popleft())
        raise AssertionError("records go round in a circle")

    def _step(self, topic: str, out: Out) -> None:
        key = out.key.encode() if isinstance(out.key, str) else out.key
        place = out.partition if out.partition >= 0 else partition_of((key or b"").decode(), PARTITIONS)
        self._offset += 1
        kind: Kind = {"consent-updates": "update", "inbound-events": "inbound"}.get(topic, "normal")  # type: ignore[assignment]
        item = Item(kind, topic, (f"t-{topic}", place), self._offset, NOW_MS, key, out.value, out.headers, 0.0)
        for made in self._judge(item):
            self.told.append(made)
            if made.topic in ("consent-updates", "inbound-events", "outbound-requests"):
                self._queue.append((made.topic, made))

    def _judge(self, item: Item) -> list[Out]:
        if item.kind == "update":
            return self.tables.updates.apply(item)
        if item.kind == "inbound":
            return self.tables.inbound.apply(item)
        prepared = self.tables.requests.prepare(item)
        if not isinstance(prepared, Prepared):
            return prepared
        found = self.tables.requests.judge(prepared, NOW_MS, lambda _topic: True, NOW_MS)
        assert not isinstance(found, Wait)
        return found


def granted(*recipients: str) -> World:
    """A world in which these ids opted in to utility messages."""
    world = World()
    for recipient in recipients:
        world.update(recipient, update_id=f"u-{recipient}")
    return world


def test_stop_from_a_brazilian_id_without_the_ninth_digit_blocks_the_number() -> None:
    """Grant and requests name the number with the 9, WhatsApp's webhooks the id without it; and the other way round."""
    for given, stopped in ((BRAZIL, BRAZIL_ID), (BRAZIL_ID, BRAZIL)):
        world = granted(given)
        assert world.write_to(given) == ("queued", None)
        assert world.write_to(stopped) == ("queued", None)
        world.stop(stopped)
        assert world.write_to(given) == ("rejected", "consent_withdrawn")


@pytest.mark.parametrize("at", ["2026-11-22T10:06:00.000Z", "2026-11-20T09:00:00.000Z"], ids=["future", "older"])
@pytest.mark.parametrize("action", ["revoke", "erase"])
@pytest.mark.parametrize("one", [BRAZIL, BRAZIL_ID])
def test_no_grant_of_another_time_undoes_an_opt_out(one: str, action: str, at: str) -> None:
    """A grant dated in the future, or before an opt-out or erase, under either form of the number, lets nothing go."""
    world = granted(BRAZIL)
    world.stop(BRAZIL_ID, action=action)
    reason = "consent_withdrawn" if action == "revoke" else "no_consent"
    world.update(one, update_id="u-9", at=at)
    assert world.write_to(one) == ("rejected", reason)


def test_events_name_the_recipient_as_upstream_wrote_it() -> None:
    """What is keyed by the person is canonical; the event and the posted request keep upstream's number."""
    world = granted(BRAZIL)
    world.write_to(BRAZIL_ID)
    event, ready = (
        next(out for out in world.told if out.topic == topic) for topic in ("outbound-events", "ready-normal")
    )
    assert (event.key, body(event)["recipient"]) == (BRAZIL_ID, BRAZIL_ID)
    assert (body(ready)["request"]["to"], body(ready)["person"]) == (BRAZIL_ID, BRAZIL)


def test_both_forms_of_a_number_share_lane_and_order() -> None:
    """Two forms of one number are one chain: the same lane, and one behind the other while the first waits."""
    lanes, chains = set(), set()
    for index in range(20):
        world = granted(f"55119{87654300 + index}")
        for form in (f"55119{87654300 + index}", f"5511{87654300 + index}"):
            world.write_to(form)
            lanes.add((index, next(out.key for out in world.told if out.topic == "ready-normal")))
        chains.add(index)
    assert len(lanes) == len(chains)


def test_stop_from_a_user_id_blocks_the_number() -> None:
    """What comes under a known user id is merged under the number that it leads to."""
    world = granted(ADA)
    world.links(Link(USER, ADA, "user_id"))
    world.stop(USER)
    assert world.write_to(ADA) == ("rejected", "consent_withdrawn")


def test_stop_from_the_number_blocks_the_user_id() -> None:
    """A request to a user id is judged by the consent of the number."""
    world = granted(ADA)
    assert world.write_to(USER) == ("rejected", "no_consent")
    world.links(Link(USER, ADA, "user_id"))
    assert world.write_to(USER) == ("queued", None)
    world.stop(ADA)
    assert world.write_to(USER) == ("rejected", "consent_withdrawn")


def test_alias_learned_after_its_stop_was_merged_hands_it_over() -> None:
    """A STOP that came while nobody knew whose id it was counts from the moment on that it is known."""
    world = granted(ADA)
    world.stop(USER)
    assert world.write_to(ADA) == ("queued", None)
    world.links(Link(USER, ADA, "user_id"))
    assert world.write_to(ADA) == ("rejected", "consent_withdrawn")


def test_newer_grant_outlives_the_stop_that_is_handed_over() -> None:
    """Handing over merges by date: who said stop under one id and later yes under the other has said yes."""
    world = World()
    world.stop(USER)
    world.update(ADA, at="2026-11-21T09:00:00.000Z")
    world.links(Link(USER, ADA, "user_id"))
    assert world.write_to(ADA) == ("queued", None)


def test_older_grant_of_the_other_id_does_not_undo_a_stop() -> None:
    """A grant under a user id, older than the number's STOP, changes nothing when the two become one."""
    world = granted(USER)
    world.stop(ADA)
    world.links(Link(USER, ADA, "user_id"))
    assert world.write_to(ADA) == world.write_to(USER) == ("rejected", "consent_withdrawn")


@pytest.mark.parametrize(("stopped", "blocked"), [(NEW, ADA), (ADA, NEW)])
@pytest.mark.parametrize("learned_first", [True, False])
def test_stop_after_a_change_of_number_blocks_both(stopped: str, blocked: str, *, learned_first: bool) -> None:
    """Whichever number the STOP came from, and whether it came before or after the change was told."""
    world = granted(ADA, NEW)
    link = Link(ADA, NEW, "number")
    if learned_first:
        world.links(link)
    assert world.write_to(blocked) == ("queued", None)
    world.stop(stopped)
    if not learned_first:
        world.links(link)
    assert world.write_to(blocked) == ("rejected", "consent_withdrawn")


def test_grant_follows_to_the_new_number_and_not_back() -> None:
    """Consent comes along with the person; a later grant stays with the number that it was given for."""
    world = granted(ADA)
    world.links(Link(ADA, NEW, "number"))
    assert world.write_to(NEW) == ("queued", None)
    world.update(NEW, update_id="m-new", categories=["marketing"])
    world.links(Link(ADA, NEW, "number"))
    world.update(ADA, update_id="m-old", categories=["service"], at="2026-11-22T09:59:00.000Z")
    assert [category for category, *_ in world.statuses(ADA)] == ["service", "utility"]
    assert [category for category, *_ in world.statuses(NEW)] == ["marketing", "utility"]


def test_change_told_again_carries_no_grant_of_the_next_owner() -> None:
    """A redelivered webhook hands over what stood when the change became known, not what was granted since."""
    world = granted(ADA)
    world.links(Link(ADA, NEW, "number"))
    world.update(ADA, update_id="next-owner", categories=["marketing"], at="2026-11-22T10:01:00.000Z")
    world.links(Link(ADA, NEW, "number"))
    assert [category for category, *_ in world.statuses(NEW)] == ["utility"]


def test_erasure_reaches_every_id() -> None:
    """Nothing of an erased person stays under another id, and older grants do not come back there."""
    world = granted(ADA, USER)
    world.links(Link(USER, ADA, "user_id"), Link(ADA, NEW, "number"))
    world.update(ADA, update_id="e", action="erase", categories=[], at=STOP_AT)
    assert [world.statuses(one) for one in (ADA, USER, NEW)] == [[], [], []]
    world.update(NEW, update_id="old")
    assert world.write_to(NEW) == ("rejected", "no_consent")


def test_chain_of_numbers_is_followed_to_its_end() -> None:
    """A STOP goes through all numbers that a person has left behind, once each."""
    numbers = [f"1555010{index:04}" for index in range(5)]
    world = granted(*numbers)
    for old, new in pairwise(numbers):
        world.links(Link(old, new, "number"))
    world.stop(numbers[2])
    assert {world.write_to(number) for number in numbers} == {("rejected", "consent_withdrawn")}


def test_number_taken_back_is_no_endless_circle() -> None:
    """A → B → A: an opt-out reaches both, and goes round no second time."""
    world = granted(ADA, NEW)
    world.links(Link(ADA, NEW, "number"))
    world.links(Link(NEW, ADA, "number"), key=NEW)
    world.told.clear()
    world.stop(ADA)
    assert [out.key for out in world.told if out.topic == "consent-updates"] == [NEW]
    assert world.write_to(NEW) == world.write_to(ADA) == ("rejected", "consent_withdrawn")


def test_copies_of_an_opt_out_are_bounded() -> None:
    """What has been carried through very many numbers goes no further, whoever wrote the header."""
    tables = Tables()
    record = {"alias": ADA, "recipient": NEW, "kind": "number", "at": STOP_AT, "ids": []}
    tables.aliases.put(partition_of(ADA, PARTITIONS), ADA.encode(), record)
    stop = making.update(action="revoke", categories=["*"])
    for count, is_copied in ((MAX_CARRIED - 1, True), (MAX_CARRIED, False)):
        headers = [("wapipe-copied", b" ".join(b"1555010%04d" % index for index in range(count)))]
        outs = tables.updates.apply(making.item("update", stop, headers=headers))
        assert ("consent-updates" in {out.topic for out in outs}) is is_copied


def test_what_follows_from_a_link_is_bounded() -> None:
    """A link that came over very many steps is written, and leads to no other."""
    for hops, follows in ((0, True), (MAX_HOPS, False)):
        tables = Tables()
        record = {"alias": USER, "recipient": ADA, "kind": "user_id", "at": STOP_AT, "ids": [NEXT]}
        tables.aliases.put(partition_of(USER, PARTITIONS), USER.encode(), record)
        link = Link(USER, NEW, "user_id", hops)
        place = partition_of(USER, PARTITIONS)
        moved = making.item("inbound", {}, key=USER.encode(), partition=place, headers=[link_header(link)])
        told = {out.key for out in tables.inbound.apply(moved) if out.topic == "inbound-events"}
        assert told == ({ADA, NEXT, NEW} if follows else {NEW})


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_user_ids_in_a_row_lead_to_the_number(order: tuple[int, int, int]) -> None:
    """Ids that were changed one into the other belong to one number, in whatever order that became known."""
    ids = [USER, NEXT, "US.3"]
    links = [Link(ids[1], ids[0], "user_id"), Link(ids[2], ids[1], "user_id"), Link(ids[0], ADA, "user_id")]
    world = granted(ADA)
    for index in order:
        world.links(links[index])
    assert [world.write_to(one) for one in ids] == [("queued", None)] * 3
    world.write_to(ADA)
    ready = body(next(out for out in world.told if out.topic == "ready-normal"))
    assert set(ready["aliases"]) == set(ids), "the sender knows all of them"
    assert {(world.alias(one) or {})["recipient"] for one in ids} == {ADA}
    world.stop(ids[2])
    assert [world.write_to(one) for one in (ADA, *ids)] == [("rejected", "consent_withdrawn")] * 4


def test_user_id_that_leads_to_a_number_keeps_doing_so() -> None:
    """Told with another user id, it does not leave its number for a moment: the other one is led there, too."""
    world = granted(ADA)
    world.links(Link(NEXT, ADA, "user_id"))
    world.told.clear()
    world.links(Link(NEXT, USER, "user_id"))
    written = [out.key for out in world.told if out.topic == "recipient-aliases"]
    assert NEXT.encode() not in written
    assert (world.alias(USER) or {})["recipient"] == ADA


def test_user_ids_that_name_each_other_are_no_endless_circle() -> None:
    """Two ids told as aliases of each other end as one person."""
    world = granted(USER)
    world.links(Link(NEXT, USER, "user_id"), Link(USER, NEXT, "user_id"), Link(NEXT, USER, "user_id"), key=USER)
    world.stop(NEXT)
    assert world.write_to(USER) == world.write_to(NEXT) == ("rejected", "consent_withdrawn")


def test_circle_on_the_topic_is_bounded() -> None:
    """Of records that lead round in a circle only so many are followed: a request is judged where it then stands."""
    world = granted(USER)
    for one, other in ((USER, NEXT), (NEXT, USER)):
        record = {"alias": one, "recipient": other, "kind": "user_id", "at": STOP_AT, "ids": []}
        world.tables.aliases.put(partition_of(one, PARTITIONS), one.encode(), record)
    assert world.write_to(USER) == ("queued", None)
    world.stop(USER)
    assert world.write_to(USER) == ("rejected", "consent_withdrawn")


def test_unreadable_alias_counts_as_none() -> None:
    """What is no alias record leads nowhere, and stops nothing."""
    world = granted(ADA)
    place = partition_of(USER, PARTITIONS)
    for raw in (b"nonsense", b"{}", b'{"recipient":5,"at":"x"}', b'{"recipient":"1555","at":"x","ids":[[]]}'):
        world.tables.stored["recipient-aliases"][place, USER.encode()] = raw
        assert world.write_to(USER) == ("rejected", "no_consent")


@pytest.mark.parametrize("one", [USER, "551187654321"])
def test_reply_opens_the_window_of_the_id_that_upstream_uses(one: str) -> None:
    """An answer under a user id, or under the other form, lets free-form messages go to the number."""
    person = ADA if one == USER else BRAZIL
    world = granted()
    world.links(Link(USER, ADA, "user_id"))
    reply = {"category": "service", "message": making.text()}
    assert world.write_to(person, **reply) == ("rejected", "window_closed")
    world.message(one)
    assert world.write_to(person, **reply) == ("queued", None)
    assert world.write_to(one, **reply) == ("queued", None)


@pytest.mark.parametrize("one", [USER, BRAZIL_ID])
def test_undelivered_under_another_id_suppresses_the_person(one: str) -> None:
    """A failure that names the person otherwise ends what goes to the number."""
    person = ADA if one == USER else BRAZIL
    world = granted(person)
    world.links(Link(USER, ADA, "user_id"))
    event = {
        "event_id": "e-9", "type": "status", "status": "failed", "at": STOP_AT, "number": NUMBER, "recipient": one,
        "message_id": "wamid.9", "request_id": "r-9", "attempt": 1, "error_code": 130403,
        "errors": [{"code": 130403, "title": "Blocked"}],
    }  # fmt: skip
    world._write("inbound-events", event, one)
    assert world.write_to(person) == ("rejected", "suppressed")


def test_ready_record_carries_the_other_ids() -> None:
    """The sender gets to know them with the message, so that it obeys their opt-outs with all gates stopped."""
    world = granted(ADA)
    world.links(Link(USER, ADA, "user_id"), Link(ADA, NEW, "number"))
    world.write_to(ADA)
    ready = body(next(out for out in world.told if out.topic == "ready-normal"))
    assert (ready["person"], set(ready["aliases"])) == (ADA, {USER, NEW})


def test_what_is_written_is_as_the_schemas_say() -> None:
    """Aliases, copies of updates and the events that tell of links are good records of their topics."""
    world = granted(ADA)
    world.stop(USER, purposes=["offers"])
    world.links(Link(USER, ADA, "user_id"), Link(ADA, NEW, "number"))
    world.update(ADA, update_id="e", action="erase", categories=[], at=STOP_AT)
    models: dict[str, type[Record]] = {
        "recipient-aliases": Alias,
        "consent-updates": ConsentUpdate,
        "inbound-events": InboundEvent,
    }
    seen = set()
    for out in world.told:
        if out.topic in models:
            check(models[out.topic], body(out))
            seen.add(out.topic)
    assert seen == set(models)


def test_a_known_link_costs_nothing_more() -> None:
    """The hundredth delivery of a person whose id is known writes nothing."""
    world = granted(ADA)
    world.links(Link(USER, ADA, "user_id"))
    world.told.clear()
    world.links(Link(USER, ADA, "user_id"))
    assert world.told == []


def test_link_survives_a_crash_between_its_steps() -> None:
    """Whatever step was repeated or lost its records, the event told again ends in the same state."""
    world = granted(ADA)
    world.stop(USER)
    place = partition_of(USER, PARTITIONS)
    lost = {"alias": USER, "recipient": ADA, "kind": "user_id", "at": STOP_AT, "ids": []}
    world.tables.aliases.put(place, USER.encode(), lost)  # written, but nothing was handed over before the crash
    world.links(Link(USER, ADA, "user_id"))
    assert world.write_to(ADA) == ("rejected", "consent_withdrawn")


def test_ids_of_a_person_are_bounded() -> None:
    """With too many, the oldest user id is dropped and no number."""
    world = granted(ADA)
    world.links(Link(NEW, ADA, "number"), key=NEW)
    for index in range(MAX_IDS + 3):
        world.links(Link(f"US.{index}", ADA, "user_id"))
    ids = (world.alias(ADA) or {})["ids"]
    assert len(ids) == MAX_IDS
    assert NEW in ids
    assert f"US.{MAX_IDS + 2}" in ids


@pytest.mark.parametrize(
    "headers",
    [
        [("wapipe-links", b"nonsense")], [("wapipe-links", b'[["US.1"]]')], [("wapipe-links", b"5")],
        [("wapipe-links", b'[["US.1","nobody","user_id"]]')], [("wapipe-links", b'[["US.1","US.1","user_id"]]')],
        [("wapipe-links", b'[["US.1","15550109999","friend"]]')],
    ],
)  # fmt: skip
def test_malformed_links_teach_nothing(headers: Any) -> None:
    """A header that nobody of us wrote changes nothing."""
    assert Tables().inbound.apply(making.item("inbound", {}, headers=[*headers, ("wapipe-kind", b"status")])) == []


def test_link_of_another_key_is_kept() -> None:
    """What tells a link to a partition or key that is none of its ends goes to dead-letter."""
    link = link_header(Link(USER, ADA, "user_id"))
    for key, headers in ((b"15550100000", [link]), (ADA.encode(), [("wapipe-link", b"{}")])):
        (letter,) = Tables().inbound.apply(making.item("inbound", {}, key=key, headers=headers))
        assert letter.topic == "dead-letter"


def test_foreign_partition_is_mended_once_for_each_person() -> None:
    """A record is given up when it was re-routed for the very person whose partition it is not on."""
    find, home = Tables().people.find, partition_of(ADA, PARTITIONS)
    once = [("wapipe-rerouted", b"1")]
    assert find(ADA, home, once) == Found("here", ADA, home, 0)
    assert find(ADA, home + 1, []) == Found("elsewhere", ADA, home, 0)
    assert find(ADA, home + 1, once) == Found("misrouted", ADA, home, 0)
    assert find(USER, home, [*once, person_header(ADA, 1)]) == Found("here", ADA, home, 1)
    assert find(USER, home + 1, [*once, person_header(ADA, 1)]) == Found("misrouted", ADA, home, 1)
    assert find(ADA, home, [("wapipe-person", b"x nobody")]) == Found("here", ADA, home, 0)


def test_numbers_are_looked_up_nowhere_to_find_their_place() -> None:
    """Only names lead elsewhere: whose a number is, no table is asked for."""
    tables = Tables()
    tables.aliases.get = lambda *_: pytest.fail("looked up")  # type: ignore[method-assign]
    assert tables.people.find(ADA, partition_of(ADA, PARTITIONS), []).place == "here"


def test_what_was_rerouted_among_fewer_partitions_goes_on() -> None:
    """A record that was re-routed before there were more partitions may have to go on, once more."""
    find, home = Tables().people.find, partition_of(ADA, PARTITIONS)
    assert find(ADA, home + 1, [("wapipe-rerouted", b"6")]) == Found("elsewhere", ADA, home, 0)
    headers = Found("elsewhere", ADA, home, 0).headers([("wapipe-rerouted", b"6"), ("x", b"y")], PARTITIONS)
    assert headers == [("x", b"y"), ("wapipe-rerouted", b"12")]
    assert find(ADA, home + 1, headers) == Found("misrouted", ADA, home, 0)


def test_link_that_was_told_among_fewer_partitions_goes_on() -> None:
    """What tells a link to a key that has moved since follows it, once; its bytes stay as they are."""
    link, home = link_header(Link(USER, ADA, "user_id")), partition_of(ADA, PARTITIONS)
    told = making.item("inbound", {"a": 1}, key=ADA.encode(), headers=[link], partition=(home + 1) % PARTITIONS)
    (out,) = Tables().inbound.apply(told)
    assert (out.topic, out.key, out.value, out.partition) == ("inbound-events", ADA, told.value, home)
    (letter,) = Tables().inbound.apply(told._replace(headers=out.headers))
    assert letter.topic == "dead-letter"
