"""The director: does to the simulator what control requests and a scenario's events ask for. Runs on its loop.

A part is checked before any is applied; what a part tells the world goes out as a webhook.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import TYPE_CHECKING, Any

from pipeline.simulator import answers
from pipeline.simulator.agenda import Agenda
from pipeline.simulator.control import Act, ErrorEvent, Preference, TemplateEvent, TimedEvent, Upgrade, changed
from pipeline.simulator.inbound import Inbound, inbound_message
from pipeline.simulator.parts import Profile, RateLimit, SpellSettings
from pipeline.simulator.settings import SPELLS_MAX, LiveSettings
from pipeline.simulator.templates import Change
from pipeline.simulator.webhooks import ErrorUpdate, FieldUpdate

if TYPE_CHECKING:
    from pipeline.simulator.server import Simulator


class Director:
    """Applies acts, now or at their time.

    Attributes:
        agenda: What is ahead.
    """

    def __init__(self, simulator: Simulator, events: Sequence[TimedEvent]) -> None:
        """Act on `simulator`, also by `events`."""
        self._simulator = simulator
        self._inbound_count = 0
        self.agenda = Agenda(events, self.act)

    def act(self, asked: Act) -> str | None:
        """Apply an act; the id of the inbound message, if there is one.

        Raises:
            ValueError: it cannot be applied as a whole, and nothing of it was.
        """
        settings = self._checked(asked)
        simulator = self._simulator
        referee, now_ns = simulator.referee, simulator.now_ns()
        if asked.reset:
            referee.reset(now_ns)
            simulator.clear()
            self.agenda.start()
        if settings is not referee.settings:
            referee.change(settings, now_ns)
        if asked.clear_spells:
            referee.spells.clear()
        if asked.expire_tokens:
            referee.credentials.expire()
        if asked.advance_s:
            referee.clock.advance(asked.advance_s)
            self._tick()
        if asked.spell is not None:
            referee.spells.add(asked.spell, now_ns, has_begun=referee.first_message_ns is not None)
        return self._tell(asked)

    def _checked(self, asked: Act) -> LiveSettings:
        """The settings after an act.

        Raises:
            ValueError: the act cannot be applied as a whole.
        """
        referee = self._simulator.referee
        settings = changed(referee.settings, asked)
        for key, number in _heard_by(asked):
            profile = self._profile(number, asked.inbound if key == "inbound" else None)
            destination = self._simulator.destination(profile, number, settings)
            if destination is None:
                raise ValueError(f"{key}: {_name(number)} has no webhook; set settings.webhook_url")
            if destination.shape == "v1" and key not in ("inbound", "error"):
                raise ValueError(f"{key}: a v1 client has no such webhook")
        is_cleared = asked.reset or asked.clear_spells
        wanted = (asked.spell is not None) + (asked.upgrade is not None)
        if wanted and not is_cleared and referee.spells.is_full(self._simulator.now_ns()):
            raise ValueError(f"spell: at most {SPELLS_MAX} at a time; set clear_spells")
        return settings

    def _tell(self, asked: Act) -> str | None:
        """Do what a webhook tells of, and let it go out."""
        if asked.upgrade is not None:
            self._upgrade(asked.upgrade)
        if asked.template is not None:
            self._template(asked.template)
        if asked.number is not None:
            event = asked.number
            if event.quality is not None:
                self._simulator.referee.conduct.rate(event.number, event.quality, event.tier)
            self._quality(event.number, event.event, event.tier)
        if asked.capability is not None:
            limit = asked.capability.limit
            keys = ("max_daily_conversation_per_phone", "max_daily_conversations_per_business")
            self._field("business_capability_update", dict.fromkeys(keys, limit), asked.capability.number)
        if asked.account is not None:
            self._field("account_update", {"event": asked.account.event, **asked.account.info}, asked.account.number)
        if asked.field is not None:
            self._field(asked.field.field, asked.field.value, asked.field.number)
        if asked.error is not None:
            self._error(asked.error)
        if asked.preference is not None:
            self._preference(asked.preference)
        return None if asked.inbound is None else self._inbound(asked.inbound)

    def _upgrade(self, asked: Upgrade) -> None:
        simulator = self._simulator
        spell = SpellSettings(
            kind="code", code=answers.CODE_MAINTENANCE, for_s=asked.for_s, since="now", sender=asked.number
        )
        simulator.referee.spells.add(spell, simulator.now_ns(), has_begun=True)
        self.agenda.later(asked.for_s, lambda: self._upgraded(asked))

    def _upgraded(self, asked: Upgrade) -> None:
        simulator = self._simulator
        limit = RateLimit(rate_per_s=asked.rate_per_s, burst=asked.burst or max(1, round(asked.rate_per_s)))
        senders = {**simulator.settings.senders, asked.number: limit}
        simulator.referee.change(simulator.settings.model_copy(update={"senders": senders}), simulator.now_ns())
        self._quality(asked.number, "THROUGHPUT_UPGRADE", "TIER_UNLIMITED")

    def _quality(self, number: str, event: str, tier: str) -> None:
        value = {
            "display_phone_number": self._simulator.settings.phone_of(number),
            "event": event,
            "current_limit": tier,
            "max_daily_conversations_per_business": tier,
        }
        self._field("phone_number_quality_update", value, number)

    def _template(self, asked: TemplateEvent) -> None:
        templates, key = self._simulator.referee.conduct.templates, (asked.name, asked.language)
        changes: list[Change] = []
        if asked.category is not None:
            changes += templates.recategorise(key, asked.category, asked.number)
        if asked.quality is not None:
            changes += templates.rate(key, asked.quality, asked.number)
        if asked.status == "PAUSED":
            changes += templates.pause(key, self._simulator.referee.clock.at(time()), asked.number)
        elif asked.status is not None:
            changes += templates.become(key, asked.status, asked.number)
        self._tell_changes(changes)
        self._tick()

    def _tick(self) -> None:
        """End pauses that are over, and come again when the next one is."""
        referee = self._simulator.referee
        now_s = referee.clock.at(time())
        self._tell_changes(referee.conduct.templates.tick(now_s))
        due_s = referee.conduct.templates.due_s()
        if due_s is not None:
            self.agenda.later(referee.clock.real_s(max(0.0, due_s - now_s)), self._tick)

    def _tell_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._field(change.field, change.value, change.number)

    def _preference(self, asked: Preference) -> None:
        simulator = self._simulator
        is_stop = asked.value == "stop"
        account = simulator.settings.account_of(asked.number)
        simulator.referee.conduct.prefer(account, asked.sender, is_stop=is_stop)
        detail = f"User requested to {asked.value} marketing messages"
        person = {"wa_id": asked.sender} | ({} if asked.user_id is None else {"user_id": asked.user_id})
        preference = person | {
            "detail": detail,
            "category": "marketing_messages",
            "value": asked.value,
            "timestamp": int(time()),
        }
        self._field("user_preferences", {"contacts": [person], "user_preferences": [preference]}, asked.number)

    def _error(self, asked: ErrorEvent) -> None:
        destination = self._simulator.destination(self._profile(asked.number), asked.number)
        if destination is not None:
            self._simulator.postman.tell(destination, ErrorUpdate(asked.code))

    def _inbound(self, asked: Inbound) -> str | None:
        simulator = self._simulator
        destination = simulator.destination(self._profile(asked.number, asked), asked.number)
        if destination is None:
            return None
        profile: Profile = "v1" if destination.shape == "v1" else "cloud"
        self._inbound_count += 1
        name = answers.message_id(profile, simulator.started_wall_ns, self._inbound_count) + "IN"
        sent_id = answers.message_id(profile, simulator.started_wall_ns, 1)
        referee = simulator.referee
        referee.conduct.hear(asked.number, asked.sender, referee.clock.at(time()))
        simulator.postman.tell(destination, inbound_message(asked, destination.shape, name, sent_id))
        return name

    def _field(self, field: str, value: dict[str, Any], number: str | None) -> None:
        """Let a change go out, if there is a webhook that knows such changes."""
        destination = self._simulator.destination(self._profile(number), number)
        if destination is not None and destination.shape == "cloud":
            self._simulator.postman.tell(destination, FieldUpdate(field, value))

    def _profile(self, number: str | None, asked: Inbound | None = None) -> Profile:
        """Profile of a number: as asked, as it was used so far, else `cloud`."""
        if asked is not None and asked.profile is not None:
            return asked.profile
        meter = self._simulator.referee.senders.get(number or "")
        return "cloud" if meter is None else meter.profile


def _heard_by(asked: Act) -> list[tuple[str, str | None]]:
    """Every part that is nothing but a webhook, with the number it goes to."""
    parts = ("capability", "account", "field", "error", "inbound")
    return [(key, part.number) for key in parts if (part := getattr(asked, key)) is not None]


def _name(number: str | None) -> str:
    return "an event without a number" if number is None else f"number {number}"
