"""What the lint finds in templates, rule by rule, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import parse_rfc3339_ms
from pipeline.whatsapp.template_lint import RULES, Finding, lint
from pipeline.whatsapp.template_registry import TemplateRegistry
from pipeline.whatsapp.template_ways import WaysOut
from tests.support.template_values import ACCOUNT, AT, BODY, KEY, definition, told

NOW_MS = parse_rfc3339_ms("2026-11-22T10:00:00.000Z")
WAYS = WaysOut(["stop", "unsubscribe", "退订"], {"No more": {}})


def body(text: str) -> dict[str, Any]:
    """A body of this text."""
    return {"type": "BODY", "text": text}


def reply(text: str, kind: str = "QUICK_REPLY") -> dict[str, Any]:
    """A button of this text."""
    return {"type": "BUTTONS", "buttons": [{"type": kind, "text": text}]}


def found(*templates: tuple[str, dict[str, Any]], rule: str | None = None) -> list[Finding]:
    """Findings of these templates, `name/language` → definition; of one rule if it is named."""
    registry = TemplateRegistry()
    for which, value in templates:
        registry.put(f"template:{ACCOUNT}/{which}/definition", value)
    return [finding for finding in lint(registry, WAYS, NOW_MS) if rule in (None, finding.rule)]


def rules(*components: dict[str, Any], category: str = "UTILITY") -> list[str]:
    """Rules that one template of these components breaks."""
    return [finding.rule for finding in found(("promo/en_US", definition(*components, category=category)))]


def test_a_good_template_has_no_finding() -> None:
    """Nothing is said about what is in order."""
    assert rules(BODY) == []
    assert rules(body("Autumn is here, {{1}}. Reply STOP to end this."), category="MARKETING") == []


@pytest.mark.parametrize(
    "components",
    [
        [body("Big news for you. Reply Stop, we will listen.")], [BODY, {"type": "FOOTER", "text": "To end: STOP"}],
        [BODY, reply("No more")], [BODY, reply("STÓP")], [BODY, reply("Unsubscribe here", "URL")],
        [body("新品。回复退订取消")],
        [BODY, {"type": "CAROUSEL", "cards": [{"components": [reply("Stop")]}]}],
    ],
)  # fmt: skip
def test_every_way_out_is_seen(components: list[dict[str, Any]]) -> None:
    """A STOP word in body or footer, a reply that is one or is mapped, a link, in any script and in cards."""
    assert "no_way_out" not in rules(*components, category="MARKETING")


@pytest.mark.parametrize(
    "components", [[BODY], [body("Nonstop fun")], [BODY, reply("More")], [BODY, {"type": "BUTTONS", "buttons": "x"}]]
)
def test_marketing_without_a_way_out_is_found(components: list[dict[str, Any]]) -> None:
    """No text and no button says how to opt out: the finding says what to add."""
    [finding] = found(("promo/en_US", definition(*components, category="MARKETING")))
    assert (finding.rule, finding.template) == ("no_way_out", "promo/en_US")
    assert "policy.opt_out_payloads" in finding.remedy
    assert rules(*components) == [], "other categories need none"


def test_a_reply_that_only_looks_like_a_way_out_is_found() -> None:
    """`Stop promotions` sends just that text, which is no STOP word: it must be mapped."""
    [finding] = found(("promo/en_US", definition(BODY, reply("Stop promotions"))), rule="reply_not_mapped")
    assert (finding.where, "'Stop promotions'" in finding.remedy) == ("button[0]", True)


@pytest.mark.parametrize(
    ("text", "category", "expected"),
    [
        ("Your order has a 20 % discount today.", "UTILITY", True), ("Aproveite a promoção agora.", "UTILITY", True),
        ("Use this one-time code now.", "UTILITY", True), ("Your OTP is here.", "MARKETING", True),
        ("Wholesale news.", "UTILITY", False), ("Your passcode is on its way.", "AUTHENTICATION", False),
        ("Autumn sale. Reply STOP to end.", "MARKETING", False),
    ],
)  # fmt: skip
def test_words_of_another_category_smell(text: str, category: str, expected: bool) -> None:
    """Selling words in utility, codes outside authentication; whole words only, in any case and accents."""
    assert ("category_smell" in rules(body(text), category=category)) == expected


def test_variables_at_the_edge_and_side_by_side_are_found() -> None:
    """Each with the part that it stands in; a header may be one variable."""
    assert rules(body("{{1}}, your order is ready.")) == ["variable_at_edge"]
    assert rules(body("Your order is {{1}}")) == ["variable_at_edge"]
    assert rules(body("Dear {{1}} {{2}}, hello.")) == ["adjacent_variables"]
    assert rules(body("Dear {{1}}, {{2}} is ready."), {"type": "HEADER", "format": "TEXT", "text": "{{1}}"}) == []
    card = {"type": "CAROUSEL", "cards": [{"components": [body("{{1}} hello.")]}]}
    assert [finding.where for finding in found(("x/en", definition(BODY, card)))] == ["cards[0].body"]


def test_a_language_that_most_others_have_is_missed() -> None:
    """Of three templates two are in German: the third lacks it; a region makes no other language."""
    made = [(f"{name}/{language}", definition()) for name in ("a", "b") for language in ("en_US", "de")]
    [finding] = found(*made, ("c/en_GB", definition()))
    assert (finding.template, finding.rule) == ("c", "missing_language")
    assert "de" in finding.what
    assert found(*made, ("c/en_GB", definition()), ("d/en_US", definition())) == [], "half of them is not most"
    assert found(("a/en_US", definition()), ("b/de", definition())) == [], "no language is the usual one"


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (definition(category="MARKETING"), "category"), (definition(status="REJECTED"), "approval"),
        (definition(body("Order {{1}} of {{2}} is here.")), "parameters"),
    ],
)  # fmt: skip
def test_languages_of_one_template_must_be_alike(other: dict[str, Any], what: str) -> None:
    """A request that fits one language and not the other is a trap."""
    [finding] = found(("a/en_US", definition()), ("a/de", other), rule="languages_differ")
    assert finding.what == f"its languages (de, en_US) differ in {what}"


def test_what_meta_decided_is_found() -> None:
    """A template that may not be sent, with its reason, and a category that is about to change."""
    [finding] = found(("a/en_US", definition(status="REJECTED", reason="INVALID_FORMAT")))
    assert (finding.rule, finding.what) == ("not_approved", "it is REJECTED (INVALID_FORMAT)")
    registry = TemplateRegistry()
    coming = told(category="UTILITY", category_at=AT, next_category="MARKETING",
                  next_category_at="2026-12-01T00:00:00.000Z")  # fmt: skip
    registry.put(KEY, coming)
    [announced] = lint(registry, WAYS, NOW_MS)
    assert (announced.rule, "MARKETING" in announced.what) == ("category_changes", True)


def test_deleted_templates_are_left_alone() -> None:
    """What is gone needs no correction; findings come in the order of templates and rules."""
    assert found(("a/en_US", definition(status="DELETED"))) == []
    many = found(
        ("b/en_US", definition(body("{{1}} discount"), status="PAUSED")), ("a/en_US", definition(body("Sale {{1}}")))
    )
    assert [finding.template for finding in many] == ["a/en_US", "a/en_US", "b/en_US", "b/en_US", "b/en_US"]
    order = [RULES.index(finding.rule) for finding in many[2:]]
    assert order == sorted(order)


def test_without_stop_words_nothing_is_a_way_out() -> None:
    """Empty settings do not make everything a way out."""
    assert not WaysOut([], {}).offers([body("Reply STOP")])
