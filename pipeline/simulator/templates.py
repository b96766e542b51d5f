"""Templates: what was approved, what a message may put into it, and how bad quality pauses it. Pure.

State machine (whatsapp-api.md §3.6): APPROVED → PAUSED (3 h) → APPROVED → PAUSED (6 h) → APPROVED → DISABLED. Each step
gives the webhook that tells it (§2.17). Runs on the simulator's loop; long-clock readings come in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple
from zlib import crc32

from pipeline.simulator import answers
from pipeline.simulator.parts import Category, Profile, TemplateSettings

Key = tuple[str, str]
TemplateStatus = Literal["APPROVED", "PAUSED", "DISABLED", "PENDING", "REJECTED", "FLAGGED", "ARCHIVED"]
Quality = Literal["GREEN", "YELLOW", "RED", "UNKNOWN"]
STATES_MAX = 10_000


class Change(NamedTuple):
    """A webhook that tells of a template.

    Attributes:
        field: Webhook field.
        value: Its value.
        number: Whose webhook URL it goes to; None = the one for all.
    """

    field: str
    value: dict[str, Any]
    number: str | None = None


@dataclass(slots=True, frozen=True)
class State:
    """Where a template stands.

    Attributes:
        status: Its status.
        pauses: How often it was paused for its quality.
        until_s: End of its pause on the long clock; None = nothing ends by itself.
        quality: Its score.
        category: None = as it was approved.
        number: Whose webhook URL hears of it.
    """

    status: TemplateStatus = "APPROVED"
    pauses: int = 0
    until_s: float | None = None
    quality: Quality = "GREEN"
    category: Category | None = None
    number: str | None = None


_NEW = State()


class Templates:
    """The registered templates and the states of all that ever changed; at most `STATES_MAX` of these."""

    def __init__(self, pause_s: tuple[float, float]) -> None:
        """Pauses last `pause_s`: the first, the second."""
        self._pause_s = pause_s
        self._registered: dict[Key, TemplateSettings] = {}
        self._states: dict[Key, State] = {}

    def register(self, templates: Sequence[TemplateSettings]) -> None:
        """Let these be the ones that were approved; states stay."""
        self._registered = {(template.name, template.language): template for template in templates}

    def clear(self) -> None:
        """All are approved and fresh again."""
        self._states.clear()

    def __bool__(self) -> bool:
        return bool(self._registered or self._states)

    def category(self, key: Key) -> Category | None:
        """What a template counts as; None = it is not registered."""
        template = self._registered.get(key)
        state = self._states.get(key, _NEW)
        return state.category or (None if template is None else template.category)

    def refusal(
        self, profile: Profile, content: dict[str, Any], *, must_exist: bool, must_fit: bool
    ) -> tuple[int, str] | None:
        """Code and sentence if a message may not use a template like this; None = it may.

        Args:
            profile: Whose codes.
            content: `template` of the message; of the right form if `must_fit`.
            must_exist: Whether it must be a registered one.
            must_fit: Whether its values must fit the registered parameters.
        """
        key = key_of(content)
        status = self._states.get(key, _NEW).status
        template = self._registered.get(key)
        if status == "PAUSED":
            return answers.code_of(profile, answers.CODE_PAUSED), "the template is paused"
        if status == "DISABLED":
            return answers.code_of(profile, answers.CODE_DISABLED), "the template is disabled"
        if status in ("PENDING", "REJECTED", "ARCHIVED") or (template is None and must_exist):
            return answers.code_of(profile, answers.CODE_NO_TEMPLATE), "there is no such template in that language"
        return _misfit(profile, template, content) if must_fit and template is not None else None

    def rows(self) -> list[tuple[TemplateSettings, State]]:
        """Every registered template with where it stands, in the order of registration."""
        return [(template, self._states.get(key, _NEW)) for key, template in self._registered.items()]

    def pause(self, key: Key, now_s: float, number: str | None) -> list[Change]:
        """Pause it for its quality: 3 h, then 6 h, then it is disabled for good."""
        state = self._states.get(key, _NEW)
        if state.status == "DISABLED":
            return []
        if state.pauses >= len(self._pause_s):
            return self._go(key, replace(state, status="DISABLED", until_s=None, number=number), "DISABLED")
        title = ("FIRST_PAUSE", "SECOND_PAUSE")[state.pauses]
        until_s = now_s + self._pause_s[state.pauses]
        paused = replace(state, status="PAUSED", pauses=state.pauses + 1, until_s=until_s, number=number)
        return self._go(key, paused, title)

    def become(self, key: Key, status: TemplateStatus, number: str | None, reason: str = "NONE") -> list[Change]:
        """Let it have a status at once, as by review, by hand or by archiving."""
        state = self._states.get(key, _NEW)
        title = "UNPAUSE" if state.status == "PAUSED" and status == "APPROVED" else None
        return self._go(key, replace(state, status=status, until_s=None, number=number), title, reason)

    def due_s(self) -> float | None:
        """When the next pause ends by itself; None = none does."""
        return min((state.until_s for state in self._states.values() if state.until_s is not None), default=None)

    def tick(self, now_s: float) -> list[Change]:
        """End the pauses that are over at `now_s`."""
        over = [key for key, state in self._states.items() if state.until_s is not None and state.until_s <= now_s]
        return [change for key in over for change in self.become(key, "APPROVED", self._states[key].number)]

    def rate(self, key: Key, quality: Quality, number: str | None) -> list[Change]:
        """Give it another quality score."""
        state = self._states.get(key, _NEW)
        value = {"previous_quality_score": state.quality, "new_quality_score": quality, **_named(key)}
        self._put(key, replace(state, quality=quality))
        return [Change("message_template_quality_update", value, number)]

    def recategorise(self, key: Key, category: Category, number: str | None) -> list[Change]:
        """Put it into another category."""
        state = self._states.get(key, _NEW)
        previous = self.category(key) or "utility"
        value = {"previous_category": previous.upper(), "new_category": category.upper(), **_named(key)}
        self._put(key, replace(state, category=category))
        return [Change("template_category_update", value, number)]

    def snapshot(self) -> list[dict[str, object]]:
        """Every template whose state ever changed."""
        return [
            {
                "name": name,
                "language": language,
                "status": state.status,
                "pauses": state.pauses,
                "quality": state.quality,
                "category": self.category((name, language)),
            }
            for (name, language), state in self._states.items()
        ]

    def _go(self, key: Key, state: State, title: str | None, reason: str = "NONE") -> list[Change]:
        self._put(key, state)
        category = self.category(key) or "utility"
        value = {
            "event": state.status,
            **_named(key),
            "message_template_category": category.upper(),
            "reason": reason,
        }
        if title is not None:
            value["other_info"] = {"title": title, "description": f"The template is {state.status} now."}
        return [Change("message_template_status_update", value, state.number)]

    def _put(self, key: Key, state: State) -> None:
        if key not in self._states and len(self._states) >= STATES_MAX:
            self._states.pop(next(iter(self._states)))
        self._states[key] = state


def key_of(content: dict[str, Any]) -> Key:
    """Name and language of a template in a message; "" for what cannot be read."""
    language = content.get("language")
    code = language.get("code", "") if isinstance(language, dict) else ""
    return str(content.get("name", "")), str(code)


def _named(key: Key) -> dict[str, object]:
    """How webhooks name a template: its id is made up from its name, its language has a hyphen (§2.17)."""
    name, language = key
    return {
        "message_template_id": crc32(f"{name}/{language}".encode()),
        "message_template_name": name,
        "message_template_language": language.replace("_", "-"),
    }


def _misfit(profile: Profile, template: TemplateSettings, content: dict[str, Any]) -> tuple[int, str] | None:
    """What does not fit between the values of a message and the registered parameters."""
    count, form = answers.code_of(profile, answers.CODE_COUNT), answers.code_of(profile, answers.CODE_FORMAT)
    given = _Values(content)
    if len(given.body) != len(template.body):
        return count, f"body: {len(given.body)} parameters, expected {len(template.body)}"
    if sorted(given.body) != sorted(template.body) if given.is_named else given.body != list(template.body):
        return form, f"body: the parameters are {' '.join(template.body)}"
    if (given.header is None) != (template.header is None):
        return count, f"header: expected {template.header or 'no parameter'}"
    if given.header != template.header:
        return form, f"header: expected {template.header}"
    if given.buttons.keys() != template.buttons.keys():
        return count, f"buttons: expected parameters for {' '.join(template.buttons) or 'none'}"
    if given.buttons != template.buttons:
        return form, "buttons: another kind than the registered one"
    return None


class _Values:
    """The parameters of a message, in the words of `TemplateSettings`."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.body: list[str] = []
        self.header: str | None = None
        self.buttons: dict[str, str] = {}
        self.is_named = False
        for component in content.get("components", ()):
            parameters = component.get("parameters", ())
            if component["type"] == "body":
                self.body = [self._word(parameter) for parameter in parameters]
            elif component["type"] == "header" and parameters:
                self.header = parameters[0]["type"]
            elif component["type"] == "button":
                self.buttons[str(component["index"])] = component["sub_type"]

    def _word(self, parameter: dict[str, Any]) -> str:
        name = parameter.get("parameter_name")
        self.is_named = self.is_named or name is not None
        return parameter["type"] if name is None else f"{parameter['type']}:{name}"
