"""The referee: what the API says to one request, decided in one synchronous step. First file to read in this room.

Order of the rules: fault spell → credentials (401) → body (400) → conduct → forced error → script → pair limit →
limits of account and app → token bucket. A refused request takes no token and no pair quota. Every decision is one row
of the ledger, so the ledger's order is the order of arrival. Clock readings come in and randomness is seeded. Runs on
the simulator's loop only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from pipeline.simulator import answers
from pipeline.simulator.conduct import Conduct
from pipeline.simulator.credentials import Credentials
from pipeline.simulator.ledger import Ledger, Row
from pipeline.simulator.limits import NS_PER_S, Limit, PairLimit
from pipeline.simulator.long_clock import LongClock
from pipeline.simulator.messages import READ, Message, read_message
from pipeline.simulator.meters import Meter, Meters
from pipeline.simulator.parts import Profile
from pipeline.simulator.quota import Shared, Windows, kind_of, out_of_window
from pipeline.simulator.scripts import Outcome, Scripts
from pipeline.simulator.settings import LiveSettings, SimulatorSettings
from pipeline.simulator.spells import Schedule
from pipeline.simulator.verdicts import Arrival, Verdict, refused, struck, told, whole_seconds


class Referee:
    """Limits, faults, counters and ledger of one simulator."""

    def __init__(self, settings: SimulatorSettings, run: int) -> None:
        """Start anew; `run` (the start in Unix ns) keeps message ids of different runs apart."""
        self.settings: LiveSettings = settings
        self._fixed = settings
        self._run = run
        self._messages = 0
        self._rng = Random(f"{settings.seed}/forced")  # noqa: S311 - reproducible on purpose
        self.clock = LongClock(run / NS_PER_S, settings.clock_speed)
        self.credentials = Credentials(settings.seed)
        self.conduct = Conduct(settings.template_pause_s)
        self.conduct.follow(settings)
        self.ledger = Ledger(settings.ledger_rows)
        self.senders = Meters()
        self.others = Meters()
        self.first_message_ns: int | None = None
        self.spells = self._schedule(0)
        self._scripts = Scripts(settings.scripts)
        self._shared = Shared()
        self._windows = Windows()
        self._pairs = PairLimit(_pair_limit(settings))

    def reset(self, now_ns: int) -> None:
        """Forget ledger, buckets, counters, conduct; spells of the settings wait for the next first message again."""
        self.ledger = Ledger(self._fixed.ledger_rows)
        self.senders.clear()
        self.others.clear()
        self.first_message_ns = None
        self.spells = self._schedule(now_ns)
        self.conduct.clear()
        self._rng = Random(f"{self._fixed.seed}/forced")  # noqa: S311 - reproducible on purpose
        self._scripts = Scripts(self.settings.scripts)
        self._shared = Shared()
        self._windows.clear()
        self._pairs = PairLimit(_pair_limit(self.settings))

    def change(self, settings: LiveSettings, now_ns: int) -> None:
        """Go on with other settings; buckets keep their level."""
        if _pair_limit(settings) != _pair_limit(self.settings):
            self._pairs = PairLimit(_pair_limit(settings))
        if settings.scripts != self.settings.scripts:
            self._scripts = Scripts(settings.scripts)
        self.conduct.follow(settings)
        self.settings = settings
        for sender, meter in self.senders.named():
            meter.relimit(settings.limit_of(meter.profile, sender), now_ns)
        for _, meter in self.others.named():
            meter.relimit(settings.other.limit(), now_ns)

    def judge(self, arrival: Arrival) -> Verdict:
        """Decide about a request to a messages endpoint, count it, write it into the ledger."""
        now_ns, route, settings = arrival.t_ns, arrival.route, self.settings
        profile = route.profile
        if self.first_message_ns is None:
            self.first_message_ns = now_ns
            self.spells.begin(now_ns)
        sender = self.credentials.sender(settings, route, arrival.credential)
        message = read_message(profile, arrival.body, strict=settings.strict, is_marketing=route.kind == "marketing")
        is_read = message.type == READ
        meter = self._other(arrival, sender, READ) if is_read else self._meter(profile, sender, now_ns)
        meter.arrive(now_ns)
        spell = None if self.spells.is_idle else self.spells.draw(now_ns, sender, settings.account_of(sender))
        if spell is None or spell.kind in ("lost", "slow"):
            verdict = self._rules(arrival, sender, message, meter)
            if spell is not None and verdict.accepted:
                verdict.fault = spell.kind
                if spell.kind == "lost":
                    verdict.status, verdict.silence = 0, "reset"
                verdict.delay_s = spell.settings.delay_s or 0.0
        else:
            verdict = struck(spell, arrival, message)
        verdict.sender, verdict.message = sender, message
        meter.settle(verdict.status, accepted=verdict.status == 200 if is_read else verdict.accepted)
        self._record(arrival, verdict, "other" if is_read else profile)
        return verdict

    def judge_other(self, arrival: Arrival, answer: Callable[[], Verdict]) -> Verdict:
        """Count a request to any other endpoint against that endpoint's own bucket; `answer` it if there is room."""
        sender = self.credentials.sender(self.settings, arrival.route, arrival.credential)
        meter = self._other(arrival, sender)
        meter.arrive(arrival.t_ns)
        spell = self.spells.draw(arrival.t_ns, sender, self.settings.account_of(sender), is_message=False)
        if spell is not None and spell.kind not in ("lost", "slow"):
            verdict = struck(spell, arrival, Message())
        else:
            limited, headers = self._limited(arrival, sender, "", meter)
            verdict = limited or answer()
            verdict.headers = headers
        verdict.sender, verdict.message = sender, Message(to=arrival.path)
        meter.settle(verdict.status, accepted=200 <= verdict.status < 400)
        self._record(arrival, verdict, "other")
        return verdict

    def has_access(self, arrival: Arrival) -> bool:
        """Whether the credential of a request is right."""
        return self.credentials.is_right(self.settings, arrival.credential, self.clock.at(arrival.wall_s))

    def _rules(self, arrival: Arrival, sender: str, message: Message, meter: Meter) -> Verdict:
        settings, route = self.settings, arrival.route
        profile, recipient = route.profile, message.recipient
        if not self.has_access(arrival):
            return Verdict(401, answers.access_body(profile), answers.code_of(profile, answers.CODE_ACCESS))
        if message.problem is not None:
            code, details = message.problem
            return refused(profile, code, details, 400)
        if message.type == READ:
            verdict, _ = self._limited(arrival, sender, message.type, meter)
            return verdict or told(answers.SUCCESS)
        breach = self.conduct.breach(settings, route, sender, message, self.clock.at(arrival.wall_s))
        if breach is not None and breach.via == "answer":
            return refused(profile, breach.code, breach.details)
        forced = settings.force.get(recipient) if settings.force else None
        if forced is not None and self._rng.random() >= forced.probability:
            forced = None
        if forced is not None and forced.via != "webhook":
            verdict = refused(profile, forced.code, status=forced.status or self._status(profile, forced.code))
            return self._forced(verdict, profile, forced.code if forced.via == "both" else None)
        outcome = self._scripts.peek(recipient) if self._scripts else None
        if outcome is not None and outcome.is_refused:
            self._scripts.step(recipient)
            return self._scripted(outcome, profile, message)
        limited, headers = self._messages_limited(arrival, sender, message, meter)
        if limited is not None:
            return limited
        verdict = self._taken(profile, message)
        verdict.headers = headers
        if outcome is not None:
            self._scripts.step(recipient)
            verdict = _played(outcome, verdict)
        if forced is not None:
            verdict.fault, verdict.failed_code = "forced", forced.code
        elif breach is not None:
            verdict.failed_code = breach.code
        return verdict

    def _taken(self, profile: Profile, message: Message) -> Verdict:
        self._messages += 1
        name = answers.message_id(profile, self._run, self._messages)
        return Verdict(
            self.settings.v1_status if profile == "v1" else 200,
            answers.success_body(profile, message, name),
            accepted=True,
            message_id=name,
        )

    def _forced(self, verdict: Verdict, profile: Profile, failed_code: int | None) -> Verdict:
        """A refusal on purpose; with a code it is told by webhook, too, and needs an id for that."""
        verdict.fault = "forced"
        if failed_code is not None:
            self._messages += 1
            verdict.message_id = answers.message_id(profile, self._run, self._messages)
            verdict.failed_code = failed_code
        return verdict

    def _scripted(self, outcome: Outcome, profile: Profile, message: Message) -> Verdict:
        if outcome.kind == "reset":
            return Verdict(0, b"", fault="forced", silence="reset")
        if outcome.kind == "empty":
            return Verdict(200, answers.success_body(profile, message, ""), fault="forced")
        code = outcome.code or 0
        verdict = refused(profile, code, status=self._status(profile, code))
        return self._forced(verdict, profile, code if outcome.kind == "both" else None)

    def _messages_limited(
        self, arrival: Arrival, sender: str, message: Message, meter: Meter
    ) -> tuple[Verdict | None, dict[str, str] | None]:
        """Pair, account, app and number, of which none is taken from unless all have room."""
        settings, now_ns, profile = self.settings, arrival.t_ns, arrival.route.profile
        recipient = message.recipient
        if profile == "v1" or not (settings.pair_limit or settings.account_limit or settings.app_limit):
            return self._limited(arrival, sender, message.type, meter)
        is_paired = settings.pair_limit
        if is_paired and not self._pairs.has_token(sender, recipient, now_ns):
            return refused(profile, answers.CODE_PAIR, status=self._status(profile, answers.CODE_PAIR)), None
        is_shared = (settings.account_limit or settings.app_limit) is not None
        account = settings.account_of(sender) if is_shared else ""
        lacking = self._shared.lacking(settings, account, now_ns) if is_shared and settings.enforce else None
        if lacking is not None:
            return self._throttled(profile, *lacking), None
        limited, headers = self._limited(arrival, sender, message.type, meter)
        if limited is None:
            if is_paired:
                self._pairs.take(sender, recipient, now_ns)
            if is_shared:
                self._shared.take(settings, account, now_ns)
        return limited, headers

    def _limited(
        self, arrival: Arrival, sender: str, message_type: str, meter: Meter
    ) -> tuple[Verdict | None, dict[str, str] | None]:
        """Take from the number's bucket or window; what a refused request hears, and headers that come either way."""
        settings, now_ns, profile = self.settings, arrival.t_ns, arrival.route.profile
        if profile == "v1" and settings.v1_window is not None:
            kind = kind_of(arrival, message_type)
            has_room, headers = self._windows.take(settings.v1_window, sender, kind, arrival.wall_s)
            return (None if has_room else out_of_window(headers)), headers
        if meter.bucket.take(now_ns) or not settings.enforce:
            return None, None
        code = answers.code_of(profile, answers.CODE_THROTTLED)
        return self._throttled(profile, code, meter.bucket.wait_ns(now_ns) / NS_PER_S), None

    def _throttled(self, profile: Profile, code: int, wait_s: float) -> Verdict:
        asked = self.settings.retry_after
        if profile == "360dialog" and self.settings.dialog_throttle == "gateway":
            verdict = Verdict(400, answers.GATEWAY_THROTTLED)
        else:
            verdict = refused(profile, code, status=self._status(profile, code))
        verdict.retry_after = whole_seconds(wait_s if asked == "auto" else asked)
        return verdict

    def _status(self, profile: Profile, code: int) -> int:
        status = answers.fault_of(profile, code).status
        return self.settings.throttle_status if status == 429 and profile != "v1" else status

    def _meter(self, profile: Profile, sender: str, now_ns: int) -> Meter:
        meter = self.senders.get(sender)
        if meter is None:
            meter = self.senders.add(sender, Meter(profile, self.settings.limit_of(profile, sender), now_ns))
        return meter

    def _other(self, arrival: Arrival, sender: str, suffix: str = "") -> Meter:
        name = f"{sender} {arrival.path} {suffix}".rstrip()
        limit = self.settings.other.limit()
        return self.others.get(name) or self.others.add(name, Meter(arrival.route.profile, limit, arrival.t_ns))

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


def _played(outcome: Outcome, verdict: Verdict) -> Verdict:
    """A taken message as its script has it."""
    is_lost = outcome.kind == "lost"
    return replace(
        verdict,
        status=0 if is_lost else verdict.status,
        silence="reset" if is_lost else None,
        fault="" if outcome.kind == "accept" else "forced",
        failed_code=outcome.code,
        delay_s=outcome.delay_s,
        statuses=outcome.statuses,
    )


def _pair_limit(settings: LiveSettings) -> Limit:
    return Limit(1 / settings.pair_interval_s, settings.pair_burst)
