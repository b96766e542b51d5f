"""May a message use its template? Known, approved, of the request's category, filled in as it must be.

Pure but for one log line. What is known comes from `account-state` (`AccountFacts.templates`); a look-up and
a comparison per message, as what a template takes was read when its definition came. Runs on the gate's loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from pipeline.config import Settings
from pipeline.metrics import Metrics
from pipeline.records.request import Request
from pipeline.whatsapp.stop_words import stops
from pipeline.whatsapp.template_registry import Known, TemplateKey, TemplateRegistry, template_in
from pipeline.whatsapp.template_shape import misfits
from pipeline.whatsapp.template_ways import WaysOut

log = structlog.get_logger(__name__)

PROBLEMS_MAX = 10


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """What is known of the template that a message uses.

    Attributes:
        known: None: it is not registered.
        unknown_because: The sentence that refuses it if it is not registered; None: then it passes.
        lacks_way_out: Whether it is refused for offering no way out.
    """

    known: Known | None
    unknown_because: str | None = None
    lacks_way_out: bool = False


class Templates:
    """Looks up the templates of requests.

    Args:
        registry: What `account-state` says of templates by now.
    """

    def __init__(self, settings: Settings, registry: TemplateRegistry, metrics: Metrics) -> None:
        policy = settings.policy
        self._numbers = settings.numbers
        self._is_required = policy.require_templates
        self._on_no_way_out = policy.require_opt_out_in_marketing
        self._ways = WaysOut(stops(policy.keyword_languages, policy.stop_keywords), policy.opt_out_payloads.keys())
        self._registry = registry
        self._metrics = metrics
        self._offers: dict[TemplateKey, tuple[Known, bool]] = {}
        self._warned: set[TemplateKey] = set()

    def facts(self, request: Request) -> TemplateFacts | None:
        """What a decision about a request rests on; None: it has no template that can be read, or no known number."""
        number = self._numbers.get(request.from_)
        named = _readable(request)
        if number is None or named is None:
            return None
        known = self._registry.find(number.account, *named)
        if known is None:
            must_be_known = self._is_required or self._registry.is_filled(number.account)
            return TemplateFacts(
                None, self._why_unknown(request.from_, number.account, *named) if must_be_known else None
            )
        if request.category != "marketing" or self._on_no_way_out == "off" or self._has_way_out(known, request):
            return TemplateFacts(known)
        if self._on_no_way_out == "warn":
            self._warn(known)
            return TemplateFacts(known)
        return TemplateFacts(known, lacks_way_out=True)

    def _has_way_out(self, known: Known, request: Request) -> bool:
        if known.components is None:
            return True  # nothing is known of its texts
        cached = self._offers.get(known.key)
        if cached is None or cached[0] is not known:
            cached = self._offers[known.key] = (known, self._ways.offers(known.components))
        return cached[1] or self._sends_way_out(request)

    def _sends_way_out(self, request: Request) -> bool:
        try:
            return self._ways.is_sent(request.message["template"].get("components", ()))
        except (KeyError, TypeError, AttributeError):
            return True  # it is refused for its form

    def _warn(self, known: Known) -> None:
        self._metrics.marketing_without_opt_out.inc()
        if known.key not in self._warned:
            self._warned.add(known.key)
            log.warning("template_without_opt_out", **known.key._asdict(), remedy="wapipe templates lint")

    def _why_unknown(self, number: str, account: str, name: str, language: str) -> str:
        if not account:
            return (
                f"numbers.{number}.account is not set, so its templates are not known: set it, run `wapipe templates"
                " sync`, or set policy.require_templates = false"
            )
        if not self._registry.is_filled(account):
            return f"no template {name}/{language}: account {account} has none yet; run `wapipe templates sync`"
        return (
            f"no template {name}/{language} in account {account}; see `wapipe templates list`, and run `wapipe"
            " templates sync` if it is new"
        )


def template_refusal(request: Request, facts: TemplateFacts | None, now_ms: int) -> tuple[str, str] | None:
    """Why a message may not use its template, as reason and detail; None: it may.

    Args:
        request: Its message has passed `check_message`.
        facts: None: it has no template.
        now_ms: Host date, ms.
    """
    if facts is None:
        return None
    known = facts.known
    if known is None:
        return None if facts.unknown_because is None else ("template_unknown", facts.unknown_because)
    refusal = known.refusal(request.category, now_ms)
    if refusal is not None:
        return refusal
    problems = [] if known.shape is None else misfits(known.shape, request.message["template"].get("components", ()))
    if problems:
        return "invalid", "; ".join(f"message.template.{problem}" for problem in problems[:PROBLEMS_MAX])
    if facts.lacks_way_out:
        return "template_without_opt_out", (
            f"marketing template {known.key.name}/{known.key.language} offers no way out"
            " (policy.require_opt_out_in_marketing); `wapipe templates lint` says what would be one"
        )
    return None


def _readable(request: Request) -> tuple[str, str] | None:
    try:
        name, language = template_in(request.message) or ("", "")
    except (KeyError, TypeError):
        return None  # it is refused for its form
    return (name, language) if isinstance(name, str) and isinstance(language, str) and name else None
