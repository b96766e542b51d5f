"""A request as it came in, and what is to be done with it. Plain values, and the answers of fault spells."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from pipeline.simulator import answers
from pipeline.simulator.messages import Message
from pipeline.simulator.parts import Profile
from pipeline.simulator.requests import Route
from pipeline.simulator.spells import Spell


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
        message_id: Id of a taken message, or of a refused one that a webhook tells of, too.
        sender: By whom it was counted.
        message: What was read of the body.
        retry_after: Value of that header; None = none.
        fault: Kind of the spell that hit it, `forced`, or "".
        silence: Instead of an answer: `reset` = RST; `hang` = nothing until `silent_to_ns`, then RST.
        silent_to_ns: End of a hang, ns since the simulator's start.
        failed_code: Code of the status `failed` that follows; None = none does.
        content_type: Of the body.
        delay_s: How much later than usual it is answered, seconds.
        statuses: Statuses that follow; None = the usual ones.
        headers: Further headers of the answer; None = none.
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
    delay_s: float = 0.0
    statuses: tuple[str, ...] | None = None
    headers: dict[str, str] | None = None


def refused(profile: Profile, code: int, details: str | None = None, status: int | None = None) -> Verdict:
    """An error answer; `status` None = the usual one of the code."""
    status = answers.fault_of(profile, code).status if status is None else status
    return Verdict(status, answers.error_body(profile, code, details), code)


def told(body: bytes, content_type: str = "application/json") -> Verdict:
    """A 200 that takes no message."""
    return Verdict(200, body, content_type=content_type)


def whole_seconds(wait_s: float | None) -> str | None:
    """The value of `Retry-After` for a wait; rounded up, the header cannot say less."""
    return None if wait_s is None else str(math.ceil(wait_s))


_KINDS = {
    "429": answers.CODE_THROTTLED,
    "503": answers.CODE_OVERLOADED,
    "html503": answers.CODE_OVERLOADED,
    "500": answers.CODE_SERVER,
    "400": answers.CODE_INVALID,
}


def struck(spell: Spell, arrival: Arrival, message: Message) -> Verdict:
    """What a request hears that a spell hit; none of these takes the message."""
    profile, kind = arrival.route.profile, spell.kind
    if kind == "reset":
        return Verdict(0, b"", fault=kind, silence="reset")
    if kind == "hang":
        return Verdict(0, b"", fault=kind, silence="hang", silent_to_ns=spell.to_ns)
    if kind == "empty":
        return Verdict(200, answers.success_body(profile, message, ""), fault=kind)
    retry_after = spell.retry_after(arrival.t_ns, arrival.wall_s)
    if kind == "html503":
        return Verdict(
            503, answers.HTML_503, retry_after=retry_after, fault=kind, content_type="text/html; charset=utf-8"
        )
    if kind == "code":
        verdict = refused(profile, spell.settings.code or 0)
    else:
        verdict = refused(profile, answers.code_of(profile, _KINDS[kind]), status=int(kind))
    verdict.retry_after, verdict.fault = retry_after, kind
    return verdict
