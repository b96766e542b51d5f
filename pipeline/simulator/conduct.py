"""What a message of the right form may still not do: to whom it goes, with which template, when. Pure.

Rules: whatsapp-api.md §2.5, §2.10, §2.16, §3.3–3.6. Runs on the simulator's loop; long-clock readings come in.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, NamedTuple

from pipeline.simulator import answers
from pipeline.simulator.media import Media
from pipeline.simulator.messages import Message
from pipeline.simulator.parts import Profile
from pipeline.simulator.requests import Route
from pipeline.simulator.settings import LiveSettings
from pipeline.simulator.strict import media_ids
from pipeline.simulator.templates import Templates, key_of

WINDOW_S = 86_400.0
WINDOWS_MAX = 1_000_000
STOPS_MAX = 1_000_000
RATINGS_MAX = 10_000


class Breach(NamedTuple):
    """A rule that a message breaks.

    Attributes:
        code: How it is called.
        details: One sentence; None = the usual one of the code.
        via: Whether it is refused, or taken and then `failed`.
    """

    code: int
    details: str | None = None
    via: Literal["answer", "webhook"] = "answer"


class Conduct:
    """Templates, uploaded media, open windows and people who stopped marketing."""

    def __init__(self, pause_s: tuple[float, float]) -> None:
        """Know of nothing yet; templates are paused for `pause_s`."""
        self.templates = Templates(pause_s)
        self.media = Media()
        self._is_idle = True
        self._tier = ""
        self._ratings: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._windows: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._stopped: OrderedDict[tuple[str, str], None] = OrderedDict()

    def follow(self, settings: LiveSettings) -> None:
        """Go on with these settings; what they do not ask for costs a message nothing."""
        self.templates.register(settings.templates)
        self._tier = settings.tier
        self._is_idle = not (
            settings.phones or settings.strict_templates or settings.strict_media or settings.windows != "off"
        )

    def clear(self) -> None:
        """Forget windows, stops and the states of templates; uploaded media stay."""
        self.templates.clear()
        self._ratings.clear()
        self._windows.clear()
        self._stopped.clear()

    def rate(self, number: str, quality: str, tier: str) -> None:
        """Let a number have another quality rating, and another messaging limit."""
        self._ratings[number] = quality, tier
        if len(self._ratings) > RATINGS_MAX:
            self._ratings.popitem(last=False)

    def rating(self, number: str) -> str:
        """The quality rating of a number."""
        return self._ratings.get(number, ("GREEN", self._tier))[0]

    def tier(self, number: str) -> str:
        """The messaging limit of a number's portfolio."""
        return self._ratings.get(number, ("GREEN", self._tier))[1]

    def hear(self, number: str, person: str, now_s: float) -> None:
        """A person wrote to a number: the window between them is open for 24 h."""
        self._windows[number, person] = now_s
        self._windows.move_to_end((number, person))
        if len(self._windows) > WINDOWS_MAX:
            self._windows.popitem(last=False)

    def prefer(self, account: str, person: str, *, is_stop: bool) -> None:
        """A person stops or resumes marketing of an account."""
        if not is_stop:
            self._stopped.pop((account, person), None)
            return
        self._stopped[account, person] = None
        if len(self._stopped) > STOPS_MAX:
            self._stopped.popitem(last=False)

    def category(self, settings: LiveSettings, route: Route, message: Message) -> str:
        """What pricing calls a message."""
        if message.type not in ("template", "hsm"):
            return "service"
        if route.kind == "marketing":
            return "marketing_lite"
        return self._template_category(message) or settings.default_category

    def breach(
        self, settings: LiveSettings, route: Route, sender: str, message: Message, now_s: float
    ) -> Breach | None:
        """The first rule that a message of the right form breaks at `now_s`; None = it breaks none."""
        if self._is_idle and route.kind == "messages" and not (self._stopped or self.templates):
            return None
        profile, is_v1 = route.profile, route.profile == "v1"
        if not is_v1 and settings.phones and settings.phones.get(sender) == message.recipient:
            return Breach(answers.CODE_SENDER)
        if message.type == "template":
            return self._template(settings, route, sender, message)
        if route.kind == "marketing":
            return Breach(answers.CODE_TEMPLATES_ONLY)
        if settings.strict_media and (unknown := self._unknown_medium(settings, profile, message)):
            return unknown
        if settings.windows != "off" and message.type != "hsm":
            opened_s = self._windows.get((sender, message.recipient))
            if opened_s is None or now_s - opened_s >= WINDOW_S:
                # A v1 client learns of it by webhook only (whatsapp-api.md §1.4).
                return Breach(
                    answers.code_of(profile, answers.CODE_WINDOW), via="webhook" if is_v1 else settings.windows
                )
        return None

    def _template(self, settings: LiveSettings, route: Route, sender: str, message: Message) -> Breach | None:
        profile = route.profile
        if self.templates or settings.strict_templates:
            found = self.templates.refusal(
                profile, message.content, must_exist=settings.strict_templates, must_fit=settings.strict
            )
            if found is not None:
                return Breach(*found)
        if settings.strict_media and (unknown := self._unknown_medium(settings, profile, message)):
            return unknown
        if profile == "v1":
            return None
        category = self._template_category(message)
        if route.kind == "marketing":
            if category not in (None, "marketing"):
                return Breach(answers.CODE_MARKETING_ONLY)
        elif category == "marketing" and not settings.marketing_on_cloud:
            return Breach(answers.CODE_MARKETING_OFF)
        if category == "authentication" and "." in message.to:
            return Breach(answers.CODE_NEEDS_PHONE)
        is_marketing = route.kind == "marketing" or (category or settings.default_category) == "marketing"
        has_stopped = is_marketing and (settings.account_of(sender), message.recipient) in self._stopped
        if has_stopped and settings.marketing_stops != "off":
            return Breach(answers.CODE_STOPPED, via=settings.marketing_stops)
        return None

    def _template_category(self, message: Message) -> str | None:
        return (
            self.templates.category(key_of(message.content)) if self.templates and message.type == "template" else None
        )

    def _unknown_medium(self, settings: LiveSettings, profile: Profile, message: Message) -> Breach | None:
        if not settings.strict:
            return None
        unknown = next((name for name in media_ids(message.content, message.type) if name not in self.media), None)
        if unknown is None:
            return None
        return Breach(answers.code_of(profile, answers.CODE_NO_MEDIUM), f"there is no medium {unknown[:64]}")
