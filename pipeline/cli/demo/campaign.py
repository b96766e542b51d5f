"""The demo's campaign: who consented to what, what is written when, and what should become of each request. Pure.

Everything of one run carries its tag: request ids begin with it, people have phone numbers of their own. So a run can
be told from any other one on the same topics. A message's first text parameter is its request id: the v1 API has no
other field that the simulator's ledger could know it by.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.cli.local_plan import BUSINESS, CLOUD_NUMBER, V1_NUMBER
from pipeline.clock import rfc3339
from pipeline.records.codec import encode

MESSAGES_MIN, MESSAGES_DEFAULT, MESSAGES_MAX = 200, 4_000, 50_000
DAY_MS = 86_400_000
SOON_MS = 25_000
V1_SHARE = 0.4  # of 50 and 80 requests a second, so that both numbers are busy about equally long
ANY_END = frozenset({"accepted", "consent_withdrawn"})
ENTRANCE, URGENT_ENTRANCE = "outbound-requests", "outbound-requests-urgent"


@dataclass(frozen=True, slots=True)
class Planned:
    """One record to write to an entrance.

    Attributes:
        request_id: "" if the record has none that can be read.
        recipient: Digits; the record's key.
        value: Its bytes.
        ends: What may become of it: `accepted`, or a reason of the table, or `dead-letter`.
        is_repeat: Whether it uses the id of another one: it ends as a duplicate.
        topic: The entrance.
    """

    request_id: str
    number: str
    recipient: str
    value: bytes
    ends: frozenset[str]
    is_repeat: bool = False
    topic: str = ENTRANCE


@dataclass(slots=True)
class Campaign:
    """What a run writes, and whom it concerns.

    Attributes:
        tag: Of the run; every record of it holds this text.
        people: What the phone numbers of its people begin with.
        grants: Values for `consent-updates`, with their keys.
        greeters: (person, number): write "hello" first, which opens their service window.
        main: Written at once, in this order.
        codes: One-time codes, written in the middle of the bulk.
        stoppers: (person, number): send STOP on the way.
        late: Written after those STOPs, to the same people.
        refused: People whose messages the API refuses for good, with the code that it says, by number.
    """

    tag: str
    people: str
    grants: list[tuple[str, bytes]] = field(default_factory=list)
    greeters: list[tuple[str, str]] = field(default_factory=list)
    main: list[Planned] = field(default_factory=list)
    codes: list[Planned] = field(default_factory=list)
    stoppers: list[tuple[str, str]] = field(default_factory=list)
    late: list[Planned] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def requests(self) -> Iterator[Planned]:
        """All records for the entrances."""
        yield from self.main
        yield from self.codes
        yield from self.late


REFUSAL_CODES = {V1_NUMBER: 1013, CLOUD_NUMBER: 131026}
"""How each API says that a person is not on WhatsApp."""
_TEMPLATES = {"marketing": "autumn_offer", "utility": "order_shipped", "authentication": "login_code"}


def template(category: str, text: str) -> dict[str, Any]:
    """A template message of a category with one text parameter."""
    parameters = [{"type": "text", "text": text}]
    components = [{"type": "body", "parameters": parameters}]
    name = _TEMPLATES[category]
    return {"type": "template", "template": {"name": name, "language": {"code": "en_US"}, "components": components}}


class Builder:
    """Makes one campaign.

    Args:
        run: Number of the run; runs with different ones share no person (modulo 10,000) and no id.
        messages: Records on the entrances in all; at least `MESSAGES_MIN`.
        seed: Start of every random choice.
        now_ms: This host's time.
    """

    def __init__(self, run: int, messages: int, seed: int, now_ms: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._now_ms, self._messages = now_ms, messages
        self._people = 0
        self._ids = 0
        self.campaign = Campaign(f"demo-{run:x}-", f"1555{run % 10_000:04d}")

    def build(self) -> Campaign:
        """The campaign."""
        made = self.campaign
        body = self._ordinary_people(self._messages)
        front: list[Planned] = []
        tail: list[Planned] = []
        self._without_consent(front)
        self._with_windows(front)
        self._malformed(front)
        self._expiring(front, tail)
        self._refused(front)
        self._stopping(tail)
        self._codes(body)
        repeats = self._repeated(front, body)
        rest = self._messages - sum(map(len, (front, tail, repeats, made.codes, made.late)))
        front += [self._ordinary(self._rng.choice(body)) for _ in range(rest)]
        self._rng.shuffle(front)
        # What is told to stop, or expires, waits at the end; repeats come after what they repeat.
        made.main = front + tail + repeats
        return made

    # -- kinds of requests -------------------------------------------------------------------------------------------
    def _ordinary_people(self, messages: int) -> list[str]:
        people = [self._person() for _ in range(max(20, messages * 3 // 5))]
        for person in people:
            self._grant(person, ["utility", "marketing", "authentication"])
        return people

    def _ordinary(self, person: str) -> Planned:
        category = "marketing" if self._rng.random() < 0.65 else "utility"
        return self._request(person, category, {"accepted"})

    def _without_consent(self, to: list[Planned]) -> None:
        to += [self._request(self._person(), "marketing", {"no_consent"}) for _ in range(self._count(0.02))]
        for _ in range(self._count(0.01)):
            person = self._person()
            self._grant(person, ["utility"])
            to.append(self._request(person, "marketing", {"no_consent"}))
        for _ in range(self._count(0.01)):
            person = self._person()
            self._grant(person, ["marketing"], expires_ms=self._now_ms - DAY_MS)
            to.append(self._request(person, "marketing", {"consent_expired"}))

    def _with_windows(self, to: list[Planned]) -> None:
        for _ in range(self._count(0.0075)):
            number = self._number()
            person = self._person()
            self.campaign.greeters.append((person, number))
            to.append(self._request(person, "service", {"accepted"}, number))
        to += [self._request(self._person(), "service", {"window_closed"}) for _ in range(self._count(0.005))]

    def _malformed(self, to: list[Planned]) -> None:
        kinds: Sequence[Callable[[], Planned]] = (
            lambda: self._broken(lambda value: encode(value)[:-20], "dead-letter"),
            lambda: self._broken(lambda value: b"not JSON at all: " + str(value["request_id"]).encode(), "dead-letter"),
            lambda: self._broken(lambda value: orjson.dumps([value]), "dead-letter"),
            lambda: self._broken(lambda value: encode({**value, "to": None}), "dead-letter"),
            lambda: self._broken(lambda value: encode({**value, "category": "promotion"}), "invalid"),
            lambda: self._broken(lambda value: encode({**value, "message": {"type": "template"}}), "invalid"),
            lambda: self._broken(lambda value: encode({**value, "expires_at": "tomorrow"}), "invalid"),
            lambda: self._broken(lambda value: encode({**value, "from": "999999999999999"}), "unknown_number"),
        )
        to += [kinds[index % len(kinds)]() for index in range(self._count(0.01))]

    def _broken(self, spoil: Callable[[dict[str, Any]], bytes], end: str) -> Planned:
        value = self._value(self._person(), "utility", self._number())
        raw = spoil(value)
        number = "999999999999999" if end == "unknown_number" else value["from"]
        request_id = "" if end == "dead-letter" else value["request_id"]
        return Planned(request_id, number, value["to"], raw, frozenset({end}))

    def _expiring(self, front: list[Planned], tail: list[Planned]) -> None:
        front += [self._until(-1000, "utility", {"expired"}) for _ in range(self._count(0.01))]
        tail += [self._until(SOON_MS, "marketing", {"expired", "accepted"}) for _ in range(self._count(0.005))]

    def _until(self, expires_in_ms: int, category: str, ends: set[str]) -> Planned:
        return self._request(self._consenting(), category, ends, expires_ms=self._now_ms + expires_in_ms)

    def _refused(self, to: list[Planned]) -> None:
        for _ in range(self._count(0.0025)):
            person, number = self._consenting(), self._number()
            self.campaign.refused[person] = REFUSAL_CODES[number]
            to.append(self._request(person, "utility", {"api_rejected"}, number))

    def _stopping(self, to: list[Planned]) -> None:
        for _ in range(self._count(0.01)):
            person, number = self._consenting(), self._number()
            self.campaign.stoppers.append((person, number))
            to.extend(self._request(person, "marketing", ANY_END, number) for _ in range(2))
            self.campaign.late.append(self._request(person, "marketing", {"consent_withdrawn"}, number))

    def _codes(self, people: Sequence[str]) -> None:
        for _ in range(self._count(0.015)):
            code = self._request(self._rng.choice(people), "authentication", {"accepted"}, topic=URGENT_ENTRANCE)
            self.campaign.codes.append(code)

    def _repeated(self, front: list[Planned], people: Sequence[str]) -> list[Planned]:
        """Requests that are written once more with the same id, some of them with another text; returns the repeats."""
        repeats = []
        for index in range(self._count(0.01)):
            first = self._request(self._rng.choice(people), "utility", {"accepted"})
            front.append(first)
            text = b'"text":"%s"' % first.request_id.encode()
            is_other = index % 4 == 3
            value = (
                first.value.replace(text, text.replace(b'text":"', b'text":"other than ')) if is_other else first.value
            )
            ends = frozenset({"duplicate", "request_id_conflict"})
            repeats.append(Planned(first.request_id, first.number, first.recipient, value, ends, is_repeat=True))
        return repeats

    # -- parts -------------------------------------------------------------------------------------------------------
    def _count(self, share: float) -> int:
        return max(1, round(self._messages * share))

    def _number(self) -> str:
        return V1_NUMBER if self._rng.random() < V1_SHARE else CLOUD_NUMBER

    def _person(self) -> str:
        self._people += 1
        return f"{self.campaign.people}{self._people:05d}"

    def _consenting(self) -> str:
        person = self._person()
        self._grant(person, ["utility", "marketing"])
        return person

    def _grant(self, person: str, categories: list[str], expires_ms: int | None = None) -> None:
        given = {
            "update_id": f"{self.campaign.tag}u{len(self.campaign.grants):05d}",
            "recipient": person,
            "business": BUSINESS,
            "action": "grant",
            "categories": categories,
            "purposes": ["*"],
            "at": rfc3339(self._now_ms - 30 * DAY_MS),
            "expires_at": None if expires_ms is None else rfc3339(expires_ms),
            "evidence": {
                "method": "checkbox", "actor": "user", "source": "https://shop.example/checkout",
                "text": "Send me messages on WhatsApp", "reference": None,
            },
        }  # fmt: skip
        self.campaign.grants.append((person, encode(given)))

    def _value(self, person: str, category: str, number: str, expires_ms: int | None = None) -> dict[str, Any]:
        self._ids += 1
        request_id = f"{self.campaign.tag}{self._ids:06d}"
        is_service = category == "service"
        message = {"type": "text", "text": {"body": request_id}} if is_service else template(category, request_id)
        return {
            "request_id": request_id,
            "from": number,
            "to": person,
            "category": category,
            "purpose": None,
            "priority": None,
            "campaign": self.campaign.tag.rstrip("-"),
            "message": message,
            "not_before": None,
            "expires_at": None if expires_ms is None else rfc3339(expires_ms),
            "metadata": {},
        }

    def _request(
        self, person: str, category: str, ends: set[str] | frozenset[str], number: str | None = None,
        *, expires_ms: int | None = None, topic: str = ENTRANCE,
    ) -> Planned:  # fmt: skip
        value = self._value(person, category, number or self._number(), expires_ms)
        return Planned(value["request_id"], value["from"], person, encode(value), frozenset(ends), topic=topic)
