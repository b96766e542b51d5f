"""What is wrong or risky in the templates of an account, before a message meets it. Pure.

Rules from Meta's template guidelines (components, categories, variables) and the policy that a marketing message offers
an easy way out (360dialog, "Before sending a message"). Smells are guesses from words: they ask for a look, no more.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pipeline.whatsapp.stop_words import fold
from pipeline.whatsapp.template_registry import DELETED, SENDABLE, Known
from pipeline.whatsapp.template_shape import VARIABLE
from pipeline.whatsapp.template_ways import WaysOut, buttons_of, cards_of

RULES: Final = (
    "no_way_out", "reply_not_mapped", "category_smell", "category_changes", "variable_at_edge", "adjacent_variables",
    "missing_language", "languages_differ", "not_approved",
)  # fmt: skip
USUAL_SHARE: Final = 0.5
"""A language that more than this share of the account's templates has is expected of each."""
# As `fold` writes them. Words that sell; such a template is MARKETING to Meta whatever it also does (Meta, categories).
_SELLING: Final = (
    "sale", "discount", "% off", "offer", "offers", "coupon", "promo", "promotion", "deal", "deals", "free shipping",
    "buy now", "shop now", "limited time", "oferta", "ofertas", "descuento", "desconto", "promocion", "promocao",
    "compre", "rabatt", "angebot", "gutschein", "promotion", "solde", "soldes", "remise", "sconto", "offerta",
)  # fmt: skip
_CODES: Final = (
    "verification code", "one time", "otp", "passcode", "security code", "login code", "codigo de verificacion",
    "codigo de verificacao", "bestatigungscode", "code de verification", "codice di verifica",
)  # fmt: skip
_ADJACENT: Final = re.compile(rf"{VARIABLE.pattern}\s*{VARIABLE.pattern}", re.ASCII)


class Finding(NamedTuple):
    """Something to look at.

    Attributes:
        rule: Which of `RULES`.
        where: Part of the template.
        what: What was found, one sentence.
        remedy: What to do about it.
    """

    account: str
    template: str
    rule: str
    where: str
    what: str
    remedy: str


def lint(templates: Iterable[Known], ways: WaysOut, now_ms: int) -> list[Finding]:
    """Look at templates, all of which are compared with each other per account.

    Args:
        ways: What counts as a way out.
        now_ms: Host date, ms.

    Returns:
        Findings in the order of accounts, templates, `RULES`.
    """
    alive = [known for known in templates if known.status != DELETED]
    found = [finding for known in alive for finding in _one(known, ways, now_ms)]
    by_account: dict[str, dict[str, list[Known]]] = defaultdict(lambda: defaultdict(list))
    for known in alive:
        by_account[known.key.account][known.key.name].append(known)
    for names in by_account.values():
        usual = _usual_languages(names.values())
        for siblings in names.values():
            found += [*_missing(siblings, usual), *_different(siblings)]
    return sorted(found, key=lambda one: (one.account, one.template, RULES.index(one.rule), one.where))


def _one(known: Known, ways: WaysOut, now_ms: int) -> Iterator[Finding]:
    def finding(rule: str, where: str, what: str, remedy: str) -> Finding:
        return Finding(known.key.account, f"{known.key.name}/{known.key.language}", rule, where, what, remedy)

    category = known.category_at(now_ms)
    if not known.is_sendable(now_ms):
        why = f" ({known.reason})" if known.reason not in (None, "NONE") else ""
        yield finding(
            "not_approved",
            "status",
            f"it is {known.status}{why}",
            "requests with it are rejected; appeal, edit, or stop using it",
        )
    if known.next_ms is not None and known.next_ms > now_ms:
        what = f"Meta will make it {known.next_category} ({known.category} now)"
        yield finding(
            "category_changes", "category", what, "collect that consent, send it as that category from then on"
        )
    if known.components is None:
        return
    texts = list(_texts(known.components))
    if category == "marketing" and not ways.offers(known.components):
        what = "a marketing template, and no text or button says how to opt out"
        remedy = "add a quick reply and map it by policy.opt_out_payloads, or name a STOP word in body or footer"
        yield finding("no_way_out", "template", what, remedy)
    for where, text in _replies(known.components):
        if ways.names(text) and not ways.hears(text):
            what = f"the quick reply {text!r} looks like a way out and is heard as none"
            yield finding(
                "reply_not_mapped",
                where,
                what,
                f"policy.opt_out_payloads: map {text!r}, or the payload that messages set",
            )
    yield from _smells(category, texts, finding)
    yield from _variables(texts, finding)


def _smells(
    category: str | None, texts: Sequence[tuple[str, str]], finding: Callable[..., Finding]
) -> Iterator[Finding]:
    for where, text in texts:
        selling, codes = _first_of(_SELLING, text), _first_of(_CODES, text)
        if selling is not None and category in ("utility", "authentication"):
            what = f"a {category} template that says {selling!r}: Meta may make it MARKETING, which needs other consent"
            yield finding("category_smell", where, what, "take the offer out, or register it as marketing")
        elif codes is not None and category in ("utility", "marketing"):
            what = f"a {category} template that says {codes!r}"
            yield finding("category_smell", where, what, "one-time codes are the category authentication")


def _variables(texts: Sequence[tuple[str, str]], finding: Callable[..., Finding]) -> Iterator[Finding]:
    for where, text in texts:
        stripped = text.strip()
        at = [side for side, found in (("begins", VARIABLE.match(stripped)), ("ends", _at_end(stripped))) if found]
        if at:
            what = f"the text {' and '.join(at)} with a variable"
            yield finding("variable_at_edge", where, what, "Meta refuses such texts at review; put words around it")
        if _ADJACENT.search(text):
            what = "two variables stand next to each other"
            yield finding("adjacent_variables", where, what, "put words between them, or make them one")


def _at_end(text: str) -> bool:
    return any(found.end() == len(text) for found in VARIABLE.finditer(text))


def _texts(components: Sequence[Mapping[str, Any]], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Texts that people read, with where they stand; a header of text may well be one variable."""
    for component in components:
        kind, text = str(component.get("type")).lower(), component.get("text")
        if kind in ("body", "footer") and isinstance(text, str):
            yield prefix + kind, text
    for number, card in enumerate(cards_of(components)):
        yield from _texts(card, f"cards[{number}].")


def _replies(components: Sequence[Mapping[str, Any]], prefix: str = "") -> Iterator[tuple[str, str]]:
    for component in components:
        for index, button in enumerate(buttons_of(component)):
            text = button.get("text")
            if str(button.get("type")).upper() == "QUICK_REPLY" and isinstance(text, str):
                yield f"{prefix}button[{index}]", text
    for number, card in enumerate(cards_of(components)):
        yield from _replies(card, f"cards[{number}].")


def _first_of(words: Sequence[str], text: str) -> str | None:
    folded = fold(text)
    return next((word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", folded)), None)


def _usual_languages(families: Iterable[Sequence[Known]]) -> dict[str, str]:
    """Languages (without region → as written first) that most templates have."""
    counts: dict[str, int] = defaultdict(int)
    written: dict[str, str] = {}
    number = 0
    for siblings in families:
        number += 1
        for base in {_base(known) for known in siblings}:
            counts[base] += 1
        for known in siblings:
            written.setdefault(_base(known), known.key.language)
    return {base: written[base] for base, count in counts.items() if count > number * USUAL_SHARE and count > 1}


def _base(known: Known) -> str:
    return known.key.language.partition("_")[0]


def _missing(siblings: Sequence[Known], usual: Mapping[str, str]) -> Iterator[Finding]:
    there = {_base(known) for known in siblings}
    first = siblings[0].key
    for base, written in usual.items():
        if base not in there:
            what = f"there is no {written}, which most templates of the account have"
            remedy = f"create it in {written}, or do not send it to people who read that"
            yield Finding(first.account, first.name, "missing_language", "languages", what, remedy)


def _different(siblings: Sequence[Known]) -> Iterator[Finding]:
    """One request must fit whatever language it is sent in: same category, same parameters, all approved or none."""
    first, *others = siblings
    differing: list[str] = []
    if len({known.category for known in siblings if known.category is not None}) > 1:
        differing.append("category")
    if len({known.status in SENDABLE for known in siblings if known.status is not None}) > 1:
        differing.append("approval")
    if any(known.shape != first.shape for known in others if known.shape is not None and first.shape is not None):
        differing.append("parameters")
    if differing:
        languages = ", ".join(sorted(known.key.language for known in siblings))
        what = f"its languages ({languages}) differ in {', '.join(differing)}"
        remedy = "make them alike, or choose the request's fields by language"
        yield Finding(first.key.account, first.key.name, "languages_differ", "languages", what, remedy)
