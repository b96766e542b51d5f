"""One person, several ids, from the webhook on: what is taken back under one ends what goes to the others."""

from __future__ import annotations

import asyncio
import signal
from typing import Any, Final

import orjson

from pipeline.clock import steady_s, unix_ms
from pipeline.ingress.access import Voice
from pipeline.ingress.outgoing import Translator
from pipeline.records.ready import ReadyMessage, parse_ready
from pipeline.sender.optouts import OptOuts
from tests.support.broker import wait_until
from tests.support.gate_stand import ADA, LIMIT_S, NUMBER, Stand, outcome, request, update

USER, NEW, OLD = "US.13491208655302741918", "15550108888", "15550107777"
BRAZIL, BRAZIL_ID = "5511987654321", "551187654321"
NOBODY: Final = "15550100000"
PEOPLE = (ADA, USER, OLD, BRAZIL, NOBODY)


def webhook(stand: Stand, **value: Any) -> None:
    """Write what an ingress makes of a webhook."""
    content = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": NUMBER}, **value}
    change = {"field": "messages", "value": content}
    body = {"object": "whatsapp_business_account", "entry": [{"id": "300000000000001", "changes": [change]}]}
    voice = Voice(frozenset(stand.settings.numbers))
    made = Translator(stand.settings).webhook(orjson.dumps(body), unix_ms(), None, voice)
    prefix = stand.settings.topic("")
    for record in made.records:
        stand.write(record.topic.removeprefix(prefix), record.value, record.key, headers=record.headers)
    stand.flush()


def said(body: str, **ids: str) -> dict[str, Any]:
    """A person's message, now."""
    return {"id": f"wamid.{ids}", "timestamp": str(unix_ms() // 1000), "type": "text", "text": {"body": body}, **ids}


def ask(stand: Stand, name: str, count: int) -> dict[str, tuple[str, str | None]]:
    """Write to everybody; (type, reason) by person once all are judged."""
    for person in PEOPLE:
        stand.write("outbound-requests", request(f"{name}-{person}", person), person)
    stand.flush()
    events = stand.wait_events(count, f"requests {name} to be judged")
    return {person: outcome(events, f"{name}-{person}") for person in PEOPLE}


def test_opt_out_under_one_id_ends_what_goes_to_the_others(stand: Stand) -> None:
    """A user id, a new number, a Brazilian id without the ninth digit: at the sender with all gates stopped, and at a
    gate that comes back."""
    for person in (ADA, OLD, BRAZIL, NOBODY):
        stand.write("consent-updates", update(f"g-{person}", person), person)
    stand.flush()
    gate = stand.start()
    assert ask(stand, "before", 5) == {**dict.fromkeys(PEOPLE, ("queued", None)), USER: ("rejected", "no_consent")}

    change = {"type": "user_changed_number", "body": "changed", "wa_id": NEW}
    webhook(stand, messages=[{**said("", **{"from": OLD}), "type": "system", "system": change}])
    webhook(stand, messages=[said("hello", **{"from": ADA, "from_user_id": USER})])
    known = {one.encode() for one in (ADA, USER, OLD, NEW)}
    wait_until(lambda: {read.key for read in stand.read("recipient-aliases")} == known, "all ids to be known", LIMIT_S)
    assert ask(stand, "between", 10) == dict.fromkeys(PEOPLE, ("queued", None))
    ready = [parse_ready(read.body) for read in stand.read("ready-normal")]
    gate.send_signal(signal.SIGSTOP)

    webhook(stand, messages=[said("STOP", from_user_id=USER), said("STOP", **{"from": BRAZIL_ID})])
    webhook(stand, messages=[said("Stop", **{"from": NEW})])
    forbidden = asyncio.run(forbidden_by_sender(stand, ready))
    assert forbidden == {message.request_id for message in ready if message.to != NOBODY}

    gate.send_signal(signal.SIGCONT)
    wait_until(lambda: revoked(stand) >= {ADA, OLD, NEW, BRAZIL}, "opt-outs to be merged", LIMIT_S)
    stopped = dict.fromkeys(PEOPLE, ("rejected", "consent_withdrawn"))
    assert ask(stand, "after", 15) == {**stopped, NOBODY: ("queued", None)}
    assert not stand.read("dead-letter")
    assert stand.stop(gate) == 0


def revoked(stand: Stand) -> set[str]:
    """Whose opt-outs were merged."""
    told = [read.body for read in stand.read("consent-events")]
    return {event["recipient"] for event in told if (event["action"], event["result"]) == ("revoke", "applied")}


async def forbidden_by_sender(stand: Stand, ready: list[ReadyMessage]) -> set[str]:
    """Requests that a sender with these messages would not post."""
    optouts = OptOuts(stand.settings, asyncio.get_running_loop(), lambda: None)
    optouts.require(min(message.source_ms for message in ready))
    give_up_s = steady_s() + LIMIT_S
    while not optouts.is_fresh(steady_s()):
        assert steady_s() < give_up_s, "the reader of opt-outs never reached the end"
        await asyncio.sleep(0.05)
    forbidden = {message.request_id for message in ready if optouts.forbids(message, unix_ms())}
    await optouts.stop()
    return forbidden
