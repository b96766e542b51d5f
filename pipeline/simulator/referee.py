"""The referee: what the API says to one request, decided in one synchronous step. First file to read in this room.

Order of the rules: fault spell → credentials (401) → body (400) → forced error → pair limit → token bucket. A refused
request takes no token and no pair quota. Every decision is one row of the ledger, so the ledger's order is the order of
arrival. Clock readings come in and randomness is seeded. Runs on the simulator's loop only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from pipeline.simulator import answers
from pipeline.simulator.credentials import Credentials
from pipeline.simulator.ledger import Ledger, Row
from pipeline.simulator.limits import NS_PER_S, Limit, PairLimit
from pipeline.simulator.meters import Meter, Meters
from pipeline.simulator.requests import Message, Route, read_message
from pipeline.simulator.settings import LiveSettings, Profile, SimulatorSettings
from pipeline.simulator.spells import Schedule, Spell


@dataclass(slots=True)
class Arrival:
    """A request as it came in.

    Attributes:
        t_ns: When it was parsed, ns since the simulator's start.
        wall_s: The same in Unix time.
        route: Its endpoint.
        path: Its path, for the ledger.
        credential: Token or key; "" = none.
        body: Its bytes.
    """

    t_ns: int
    wall_s: float
    route: Route
    path: str
    credential: str
    body: bytes


@dataclass(slots=True)
class Verdict:
    """What is to be done with it.

    Attributes:
        status: HTTP status; 0 = no answer is given.
        body: Body of the answer.
        code: Error code in it; None = none.
        accepted: Whether the message was taken.
        message_id: Id of a taken message.
        sender: By whom it was counted.
        message: What was read of the body.
        retry_after: Value of that header; None = none.
        fault: Kind of the spell that hit it, `forced`, or "".
        silence: Instead of an answer: `reset` = RST; `hang` = nothing until `silent_to_ns`, then RST.
        silent_to_ns: End of a hang, ns since the simulator's start.
        failed_code: Code of the status `failed` that follows an accepted message; None = it is delivered.
        content_type: Of the body.
    """

    status: int
    body: bytes
    code: int | None = None
    accepted: bool = False
    message_id: str = ""
    sender: str = ""
    message: Message = field(default_factory=Message)
    retry_after: str | None = None
    fault: str = ""
    silence: Literal["reset", "hang"] | None = None
    silent_to_ns: int = 0
    failed_code: int | None = None
    content_type: str = "application/json"


class Referee:
    """Limits, faults, counters and ledger of one simulator."""

    def __init__(self, settings: SimulatorSettings, run: int) -> None:
        """Start anew; `run` (the start in Unix ns) keeps message ids of different runs apart."""
        self.settings: LiveSettings = settings
        self._fixed = settings
        self._run = run
        self._messages = 0
        self._rng = Random(f"{settings.seed}/forced")  # noqa: S311 - reproducible on purpose
        self.credentials = Credentials(settings.seed)
        self.ledger = Ledger(settings.ledger_rows)
        self.senders = Meters()
        self.others = Meters()
        self.first_message_ns: int | None = None
        self.spells = self._schedule(0)
        self._pairs = PairLimit(_pair_limit(settings))

    def reset(self, now_ns: int) -> None:
        """Forget ledger, buckets and counters; spells of the settings wait for the next first message again."""
        self.ledger = Ledger(self._fixed.ledger_rows)
        self.senders.clear()
        self.others.clear()
        self.first_message_ns = None
        self.spells = self._schedule(now_ns)
        self._pairs = PairLimit(_pair_limit(self.settings))

    def change(self, settings: LiveSettings, now_ns: int) -> None:
        """Go on with other settings; buckets keep their level."""
        if _pair_limit(settings) != _pair_limit(self.settings):
            self._pairs = PairLimit(_pair_limit(settings))
        self.settings = settings
        for sender, meter in self.senders.named():
            meter.relimit(settings.limit_of(meter.profile, sender), now_ns)
        for _, meter in self.others.named():
            meter.relimit(settings.other.limit(), now_ns)

    def judge(self, arrival: Arrival) -> Verdict:
        """Decide about a request to the messages endpoint, count it, write it into the ledger."""
        now_ns, profile = arrival.t_ns, arrival.route.profile
        if self.first_message_ns is None:
            self.first_message_ns = now_ns
            self.spells.begin(now_ns)
        sender = self.credentials.sender(self.settings, arrival.route, arrival.credential)
        message = read_message(profile, arrival.body)
        meter = self._meter(profile, sender, now_ns)
        meter.arrive(now_ns)
        spell = self.spells.draw(now_ns, sender)
        if spell is None or spell.kind == "lost":
            verdict = self._rules(arrival, sender, message, meter)
            if spell is not None and verdict.accepted:
                verdict.status, verdict.silence, verdict.fault = 0, "reset", spell.kind
        else:
            verdict = _struck(spell, arrival, message)
        verdict.sender, verdict.message = sender, message
        meter.settle(verdict.status, accepted=verdict.accepted)
        self._record(arrival, verdict, profile)
        return verdict

    def judge_other(self, arrival: Arrival, answer: Verdict) -> Verdict:
        """Count a request to any other endpoint against that endpoint's own bucket; `answer` it if there is room."""
        now_ns, profile = arrival.t_ns, arrival.route.profile
        sender = self.credentials.sender(self.settings, arrival.route, arrival.credential)
        name = f"{sender} {arrival.path}"
        meter = self.others.get(name) or self.others.add(name, Meter(profile, self.settings.other.limit(), now_ns))
        meter.arrive(now_ns)
        verdict = answer
        if not meter.bucket.take(now_ns) and self.settings.enforce:
            verdict = self._throttled(profile, meter, now_ns)
        verdict.sender, verdict.message = sender, Message(to=arrival.path)
        meter.settle(verdict.status, accepted=verdict.status < 400)
        self._record(arrival, verdict, "other")
        return verdict

    def _rules(self, arrival: Arrival, sender: str, message: Message, meter: Meter) -> Verdict:
        settings, now_ns, profile = self.settings, arrival.t_ns, arrival.route.profile
        if not self.credentials.is_right(settings, arrival.credential, arrival.wall_s):
            code = answers.code_of(profile, answers.CODE_ACCESS)
            return Verdict(401, answers.access_body(profile), code)
        if message.problem is not None:
            code, details = message.problem
            return Verdict(400, answers.error_body(profile, code, details), code)
        forced = settings.force.get(message.recipient)
        if forced is not None and self._rng.random() >= forced.probability:
            forced = None
        if forced is not None and forced.via == "answer":
            status = forced.status or self._status(profile, forced.code)
            return Verdict(status, answers.error_body(profile, forced.code), forced.code, fault="forced")
        is_paired = settings.pair_limit and profile != "v1"
        if is_paired and not self._pairs.has_token(sender, message.recipient, now_ns):
            code = answers.CODE_PAIR
            return Verdict(self._status(profile, code), answers.error_body(profile, code), code)
        if not meter.bucket.take(now_ns) and settings.enforce:
            return self._throttled(profile, meter, now_ns)
        if is_paired:
            self._pairs.take(sender, message.recipient, now_ns)
        self._messages += 1
        name = answers.message_id(profile, self._run, self._messages)
        return Verdict(
            settings.v1_status if profile == "v1" else 200,
            answers.success_body(profile, message, name),
            accepted=True,
            message_id=name,
            fault="" if forced is None else "forced",
            failed_code=None if forced is None else forced.code,
        )

    def _throttled(self, profile: Profile, meter: Meter, now_ns: int) -> Verdict:
        code = answers.code_of(profile, answers.CODE_THROTTLED)
        asked = self.settings.retry_after
        wait_s = meter.bucket.wait_ns(now_ns) / NS_PER_S if asked == "auto" else asked
        return Verdict(
            self._status(profile, code),
            answers.error_body(profile, code),
            code,
            retry_after=None if wait_s is None else str(math.ceil(wait_s)),
        )

    def _status(self, profile: Profile, code: int) -> int:
        status = answers.fault_of(profile, code).status
        return self.settings.throttle_status if status == 429 and profile != "v1" else status

    def _meter(self, profile: Profile, sender: str, now_ns: int) -> Meter:
        meter = self.senders.get(sender)
        if meter is None:
            meter = self.senders.add(sender, Meter(profile, self.settings.limit_of(profile, sender), now_ns))
        return meter

    def _record(self, arrival: Arrival, verdict: Verdict, profile: str) -> None:
        message = verdict.message
        self.ledger.add(
            Row(
                t_ns=arrival.t_ns,
                sender=verdict.sender,
                profile=profile,
                to=message.to,
                callback=message.callback,
                text=message.text,
                status=verdict.status,
                code=verdict.code,
                accepted=verdict.accepted,
                message_id=verdict.message_id,
                fault=verdict.fault,
            )
        )

    def _schedule(self, now_ns: int) -> Schedule:
        rng = Random(f"{self._fixed.seed}/spells")  # noqa: S311 - reproducible on purpose
        return Schedule(self._fixed.spells, now_ns, rng)


def _struck(spell: Spell, arrival: Arrival, message: Message) -> Verdict:
    """What a request hears that a spell hit; none of these takes the message."""
    profile, kind = arrival.route.profile, spell.kind
    if kind == "reset":
        return Verdict(0, b"", fault=kind, silence="reset")
    if kind == "hang":
        return Verdict(0, b"", fault=kind, silence="hang", silent_to_ns=spell.to_ns)
    if kind == "empty":
        return Verdict(200, answers.success_body(profile, message, ""), fault=kind)
    codes = {
        "429": answers.CODE_THROTTLED,
        "503": answers.CODE_OVERLOADED,
        "html503": answers.CODE_OVERLOADED,
        "500": answers.CODE_SERVER,
        "400": answers.CODE_INVALID,
    }[kind]
    retry_after = spell.retry_after(arrival.t_ns, arrival.wall_s)
    if kind == "html503":
        return Verdict(
            503, answers.HTML_503, retry_after=retry_after, fault=kind, content_type="text/html; charset=utf-8"
        )
    code = answers.code_of(profile, codes)
    return Verdict(int(kind), answers.error_body(profile, code), code, retry_after=retry_after, fault=kind)


def _pair_limit(settings: LiveSettings) -> Limit:
    return Limit(1 / settings.pair_interval_s, settings.pair_burst)
