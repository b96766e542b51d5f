"""Overview: each number's rate against its limit, why it stands still, what waits; and an operator's hold on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiohttp import web
from markupsafe import Markup

from pipeline.clock import parse_rfc3339_ms, unix_ms
from pipeline.console import query
from pipeline.console.plots import rate_plot
from pipeline.console.web import Parts, actor_of, back, failed, fragment, page, parts_of, perform, reason_of
from pipeline.errors import PipelineError
from pipeline.operations.arrivals import limit_of
from pipeline.operations.numbers import Standing, pause_key, pause_number, standing
from pipeline.records.request import PRIORITIES
from pipeline.records.tier import newest_people, portfolios_of, sources_of
from pipeline.streams.topics import DELAYED, READY
from pipeline.throttle.bucket import Limit

NOW_SECONDS: Final = 5
DAY_MS: Final = 86_400_000
UPGRADED_PER_S: Final = 1_000.0
STANDARD_PER_S: Final = 80.0


class Tier(NamedTuple):
    """A portfolio's messaging tier.

    Attributes:
        portfolio: As the settings call it; numbers of one share it.
        people: How many it may write to in 24 h, infinite: anybody; None: nobody told.
        used: How many it has.
    """

    portfolio: str
    people: float | None
    used: int


@dataclass(frozen=True, slots=True)
class Card:
    """A number as the page shows it.

    Attributes:
        word: How it stands, in a word; `style` how that looks.
        now_per_s: Requests per second, the mean of the last five.
        refused: Answers 429 and 503 of the last five minutes.
        tokens: What its buckets hold, by the requests that left them; `burst` at most.
        stops: (word, sentence, seconds left or None) of each reason to stand still.
        hold: An operator's hold; None: there is none.
    """

    standing: Standing
    word: str
    style: str
    limit_per_s: float
    burst: float
    now_per_s: float
    refused: int
    tokens: float
    stops: list[tuple[str, str, float | None]]
    hold: Mapping[str, Any] | None
    quality: str | None
    tier: Tier
    plot: Markup
    is_known: bool


async def overview(request: web.Request) -> web.Response:
    """`GET /`."""
    parts = parts_of(request)
    live = await _live(request)
    acts = await parts.reading.run(query.acts)
    return page(request, "overview.html", numbers=list(parts.settings.numbers), live=live, acts=acts)


async def fragments(request: web.Request) -> dict[str, str]:
    """The live parts."""
    return {name: str(html) for name, html in (await _live(request)).items()}


async def _live(request: web.Request) -> dict[str, Markup]:
    parts, now_ms = parts_of(request), unix_ms()
    totals = await parts.reading.run(query.totals, now_ms - DAY_MS)
    cards = [card_of(parts, number, now_ms) for number in parts.settings.numbers]
    made = {"totals": fragment(request, "parts/totals.html", totals=totals, cards=cards)}
    for card in cards:
        number = card.standing.number
        made[f"number-{number}"] = fragment(request, "parts/number.html", card=card, infinity=math.inf)
        made[f"acts-{number}"] = fragment(request, "parts/number_acts.html", card=card, priorities=PRIORITIES)
    # Templates have escaped all values.
    return {name: Markup(html) for name, html in made.items()}  # noqa: S704


def card_of(parts: Parts, number: str, now_ms: int) -> Card:
    """How a number stands now."""
    settings, states = parts.settings, parts.states.known
    backlog = parts.backlogs.get(number, dict.fromkeys((*READY, *DELAYED), 0))
    stands = standing(settings, number, states, backlog, now_ms)
    limit = _limit(parts, number)
    now_s = now_ms / 1000
    sent, refused = parts.rates.sent(number, now_s), parts.rates.refused(number, now_s)
    hold = states.get(pause_key(number))
    is_held = bool(hold and hold.get("paused"))
    is_partly = is_held and bool(hold and hold.get("priorities"))
    waits = sum(stands.backlog.values())
    halts = [stop for stop in stands.stops if not stop.startswith("operator")]
    if halts:
        word, style = "stands still", "bad"
    elif is_held:
        word, style = ("partly paused" if is_partly else "paused"), "wait"
    elif sum(sent[-NOW_SECONDS:]):
        word, style = "sending", "good"
    else:
        word, style = ("waiting", "wait") if waits else ("idle", "plain")
    looked = states.get(f"number:{number}/preflight", {})
    flagged = states.get(f"number:{number}/quality", {}).get("flagged")
    return Card(
        standing=stands, word=word, style=style, limit_per_s=limit.rate_per_s, burst=limit.burst,
        now_per_s=sum(sent[-NOW_SECONDS:]) / NOW_SECONDS, refused=sum(refused),
        tokens=parts.rates.tokens(number, limit, now_s),
        stops=[_stop(stop, states, number, now_ms) for stop in stands.stops], hold=hold if is_held else None,
        quality="flagged" if flagged else looked.get("quality"), tier=_tier(parts, number),
        plot=rate_plot(sent, refused, limit.rate_per_s, f"requests per second of {number}, last five minutes"),
        is_known=number in parts.backlogs,
    )  # fmt: skip


def _limit(parts: Parts, number: str) -> Limit:
    """What holds now: the settings' or the profile's limit, or what Meta raised it to."""
    rate, burst = limit_of(parts.settings, number)
    is_high = parts.states.known.get(f"number:{number}/limits", {}).get("throughput") == "HIGH"
    if is_high and rate >= STANDARD_PER_S:
        return Limit(max(rate, UPGRADED_PER_S), max(burst, UPGRADED_PER_S))
    return Limit(rate, burst)


def _tier(parts: Parts, number: str) -> Tier:
    portfolio = portfolios_of(parts.settings)[number]
    people = newest_people(sources_of(parts.settings)[portfolio], parts.states.known.get)
    return Tier(portfolio, people, parts.tiers_used.get(portfolio, 0))


def _stop(
    stop: str, states: Mapping[str, Mapping[str, Any]], number: str, now_ms: int
) -> tuple[str, str, float | None]:
    word, _, sentence = stop.partition(": ")
    left = None
    for key, state in states.items():
        if key.startswith(f"number:{number}/halt/") and state.get("halted") and state.get("reason") == word:
            try:
                left = max(left or 0.0, (parse_rfc3339_ms(str(state.get("until"))) - now_ms) / 1000)
            except ValueError:
                continue
    return word, sentence, left


async def act(request: web.Request) -> web.Response:
    """`POST /numbers/{number}`: pause or resume."""
    parts, form, number = parts_of(request), await request.post(), request.match_info["number"]
    is_paused = form.get("act") == "pause"
    try:
        made = pause_number(
            parts.settings, actor_of(request), number, is_paused=is_paused,
            priorities=[str(name) for name in form.getall("priority", [])], reason=reason_of(form),
            before=parts.states.known.get(pause_key(number)), now_ms=unix_ms(),
        )  # fmt: skip
        word = "paused" if is_paused else "resumed"
        await perform(request, made, f"{number} is {word}", f"{number} was {word} already")
    except PipelineError as exc:
        raise failed(request, exc, "/") from exc
    raise back("/")
