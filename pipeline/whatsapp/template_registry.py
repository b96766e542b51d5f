"""The registry of templates: what webhooks told and what the last `templates sync` saw, joined per template. Pure.

Two writers, two keys of `account-state` (one key per aspect and writer): the ingress writes the pieces that webhooks
tell to `template:ACCOUNT/NAME/LANG`, a sync what it sees to `template:ACCOUNT/NAME/LANG/definition`; so neither can
overwrite what the other knows. Of each piece the newer one counts, webhooks on a tie. `account:ID/templates` says
that a sync was complete. The gate, the sender and the commands each keep one of these, fed by whoever reads the topic;
a look-up costs one `dict.get`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from pipeline.clock import parse_rfc3339_ms
from pipeline.whatsapp.template_shape import Shape, shape_of

PREFIX: Final = "template:"
DEFINITION: Final = "/definition"
DELETED: Final = "DELETED"
TEMPLATES_MAX: Final = 200_000
"""Far above what accounts may have (6,000: Meta, template limits); of more, the rest counts as unknown."""
# Statuses and webhook events with which a template may be sent. FLAGGED: it will be disabled unless its quality rises;
# REINSTATED, UNARCHIVED: it is back (Meta, message_template_status_update).
SENDABLE: Final = frozenset({"APPROVED", "FLAGGED", "REINSTATED", "UNARCHIVED"})

Refusal = Literal["template_not_approved", "category_mismatch"]


class TemplateKey(NamedTuple):
    """Which template; the language with `_`, as sends write it."""

    account: str
    name: str
    language: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one template.

    Attributes:
        status: In Meta's words; None: nothing was told of it.
        reason: Of a rejection, as Meta told it.
        until_ms: When a pause ends by itself.
        status_ms: When the status was told, or seen; 0: never.
        category: In Meta's words; None: not known.
        next_category: Announced for `next_ms`.
        quality: Its score.
        components: As a sync saw them; None: no sync did, or they have changed since.
        parameter_format: `NAMED`, `POSITIONAL` or None.
        shape: What a message must give; None: not known.
        changed_ms: When anything of it was told to have changed last.
    """

    key: TemplateKey
    status: str | None
    reason: str | None
    until_ms: int | None
    status_ms: int
    category: str | None
    next_category: str | None
    next_ms: int | None
    quality: str | None
    components: list[dict[str, Any]] | None
    parameter_format: str | None
    shape: Shape | None
    changed_ms: int

    def is_sendable(self, now_ms: int) -> bool:
        """Whether Meta takes messages with it; nothing told counts as yes, a pause that is over, too."""
        if self.status == "PAUSED":
            return self.until_ms is not None and self.until_ms <= now_ms  # (Meta, template pausing: by itself)
        return self.status is None or self.status in SENDABLE

    def category_at(self, now_ms: int) -> str | None:
        """Its category then, in the contract's words; None: not known."""
        is_over = self.next_ms is not None and self.next_ms <= now_ms
        found = self.next_category if is_over and self.next_category is not None else self.category
        return found.lower() if found is not None else None

    def refusal(self, category: str, now_ms: int) -> tuple[Refusal, str] | None:
        """Why a message of a category may not use it, as reason and sentence; None: it may.

        Args:
            category: Of the request.
        """
        name = f"{self.key.name}/{self.key.language}"
        if not self.is_sendable(now_ms):
            why = f" ({self.reason})" if self.reason not in (None, "NONE") else ""
            return "template_not_approved", f"template {name} is {self.status}{why}"
        own = self.category_at(now_ms)
        if own is not None and own != category:
            return "category_mismatch", f"template {name} is {own}, the request says {category}"
        return None


class TemplateRegistry:
    """All templates that `account-state` tells of.

    Args:
        has_texts: Whether components and shapes are kept; a sender does without.
    """

    def __init__(self, *, has_texts: bool = True) -> None:
        self._has_texts = has_texts
        self._told: dict[TemplateKey, dict[str, Any]] = {}
        self._seen: dict[TemplateKey, dict[str, Any]] = {}
        self._known: dict[TemplateKey, Known] = {}
        self._synced: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Known]:
        return iter(self._known.values())

    def put(self, key: str, value: Mapping[str, Any] | None) -> bool:
        """Take a record of `account-state` in; None: the key is gone.

        Returns:
            Whether the key is one of a template; what it says is taken in only if it can be read.
        """
        if key.startswith("account:") and key.endswith("/templates"):
            self._put_synced(key[len("account:") : -len("/templates")], value)
        if not key.startswith(PREFIX):
            return False
        side = self._seen if key.endswith(DEFINITION) else self._told
        which = key_in(key)
        if which is not None:
            self._put_side(side, which, value)
        return True

    def find(self, account: str, name: str, language: str) -> Known | None:
        """What is known of a template; None: it is not registered."""
        return self._known.get(TemplateKey(account, name, language.replace("-", "_")))

    def is_filled(self, account: str) -> bool:
        """Whether a complete sync has seen templates of the account."""
        return self._synced.get(account, 0) > 0

    def is_synced(self, account: str) -> bool:
        """Whether a sync of the account was complete, whatever it has seen."""
        return account in self._synced

    def told(self, which: TemplateKey) -> Mapping[str, Any] | None:
        """What webhooks told of a template, as it stands on the topic."""
        return self._told.get(which)

    def seen(self, which: TemplateKey) -> Mapping[str, Any] | None:
        """What the last sync saw of a template, as it stands on the topic."""
        return self._seen.get(which)

    def _put_synced(self, account: str, value: Mapping[str, Any] | None) -> None:
        count = value.get("templates") if value is not None else None
        if isinstance(count, int):
            self._synced[account] = count
        else:
            self._synced.pop(account, None)

    def _put_side(
        self, side: dict[TemplateKey, dict[str, Any]], which: TemplateKey, value: Mapping[str, Any] | None
    ) -> None:
        before = side.pop(which, None)
        if value is not None and (which in self._known or len(self._known) < TEMPLATES_MAX):
            side[which] = dict(value) if self._has_texts else {**value, "components": None}
        try:
            joined = join(which, self._told.get(which), self._seen.get(which))
        except (KeyError, TypeError, ValueError, AttributeError):
            # Not ours, or broken: as if it had not been written.
            side.pop(which, None)
            if before is not None:
                side[which] = before
            return
        if joined is None:
            self._known.pop(which, None)
        else:
            self._known[which] = joined


def key_in(key: str) -> TemplateKey | None:
    """The template that a key of `account-state` is about; None: none."""
    parts = key.removeprefix(PREFIX).removesuffix(DEFINITION).split("/")
    return TemplateKey(*parts) if key.startswith(PREFIX) and len(parts) == 3 and all(parts) else None


def template_in(message: Mapping[str, Any]) -> tuple[str, str] | None:
    """Name and language of the template in a message of a request; None: it has none."""
    if message.get("type") != "template":
        return None
    template = message["template"]
    return template["name"], template["language"]["code"]


def join(which: TemplateKey, told: Mapping[str, Any] | None, seen: Mapping[str, Any] | None) -> Known | None:
    """Join what webhooks told with what a sync saw; None if there is neither.

    Raises:
        KeyError, TypeError, ValueError: one of them is no such record.
    """
    if told is None and seen is None:
        return None
    for value, aspect in ((told, "template"), (seen, "definition")):
        if value is not None and value["aspect"] != aspect:
            raise ValueError(f"a record of another aspect than {aspect}")
    told, seen = told or {}, seen or {}
    seen_ms = parse_rfc3339_ms(seen["at"]) if seen else 0

    def told_ms(part: str) -> int:
        at = told.get(f"{part}_at")
        return parse_rfc3339_ms(at) if at is not None else -1

    def newer(part: str) -> Mapping[str, Any]:
        return told if told_ms(part) >= seen_ms else seen

    status = newer("status").get("status")
    until_ms = _ms(told.get("until")) if status == told.get("status") == "PAUSED" else None
    if until_ms is not None and newer("status") is seen and until_ms <= seen_ms:
        until_ms = None  # it was seen paused after that pause was over: this is another one
    next_ms = _ms(told.get("next_category_at"))
    if next_ms is not None and next_ms <= seen_ms:
        next_ms = None  # what was seen afterwards is the category now
    is_current = seen.get("components") is not None and told_ms("components") < seen_ms
    components = seen["components"] if is_current else None
    parameter_format = seen.get("parameter_format")
    return Known(
        key=which,
        status=status,
        reason=newer("status").get("reason"),
        until_ms=until_ms,
        status_ms=max(told_ms("status"), seen_ms, 0),
        category=newer("category").get("category"),
        next_category=told.get("next_category") if next_ms is not None else None,
        next_ms=next_ms,
        quality=newer("quality").get("quality"),
        components=components,
        parameter_format=parameter_format,
        shape=shape_of(components, parameter_format) if components is not None else None,
        changed_ms=max(_ms(told.get("at")) or 0, _ms(seen.get("changed_at")) or 0),
    )


def _ms(text: str | None) -> int | None:
    return parse_rfc3339_ms(text) if text is not None else None
