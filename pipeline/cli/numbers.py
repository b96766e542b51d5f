"""`wapipe numbers list | pause | resume`: how each number stands, and an operator's hold on it.

Everything is read from Kafka: `account-state`, the ends of the lane topics, and what the senders' group has committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.cli.account import account_states
from pipeline.cli.app import with_settings
from pipeline.cli.audit import actor_name, audit
from pipeline.cli.output import Cell, json_document, line, note, table
from pipeline.cli.reading import CONNECT_TIMEOUT_S, open_reader, unreachable
from pipeline.cli.timeline import stops_of
from pipeline.cli.writing import Outgoing, write_all
from pipeline.clock import rfc3339, unix_ms
from pipeline.config import NumberSettings, Settings
from pipeline.errors import EXIT_DONE
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.records.request import PRIORITIES
from pipeline.streams.client import reader_conf
from pipeline.streams.topics import DELAYED, READY
from pipeline.whatsapp.profiles import default_limit

ACCOUNT: Final = "account-state"


@click.group()
def numbers() -> None:
    """Show, pause and resume sending numbers."""


@numbers.command("list")
@click.option("--json", "is_json", is_flag=True, help="As JSON.")
@with_settings
def list_(settings: Settings, is_json: bool) -> int:
    """Show every number: its limit, why it stands still, what waits, and how long that takes at the full rate.

    Waiting are the records of its lanes that its sender has not committed; delayed ones have a copy each.
    """
    with open_reader(settings) as reader:
        states = account_states(reader)
    backlogs, now_ms = _backlogs(settings), unix_ms()
    found = [_standing(settings, number, states, backlogs[number], now_ms) for number in settings.numbers]
    if is_json:
        json_document(found)
        return EXIT_DONE
    columns = ("number", "business", "profile", "limit/s", "now/s", "waiting", "delayed", "drains in", "stands still")
    table(columns, map(_row, found))
    return EXIT_DONE


def _change_options(command: Any) -> Any:
    for option in (
        click.argument("number"),
        click.option("--reason", required=True, metavar="TEXT", help="Why; kept in audit-events."),
    ):
        command = option(command)
    return command


@numbers.command()
@_change_options
@click.option(
    "--priority",
    "priorities",
    multiple=True,
    type=click.Choice(PRIORITIES),
    help="Repeatable. Default: all.",
)
@with_settings
def pause(settings: Settings, number: str, reason: str, priorities: tuple[str, ...]) -> int:
    """Hold what a number sends; nothing is lost, and no attempt is spent.

    \b
    Example:
      wapipe numbers pause 200000000000001 --priority bulk --reason "evening"
    """
    wanted: list[str] = [name for name in PRIORITIES if name in priorities]
    return _say(settings, number, "pause", reason, None if len(wanted) in (0, len(PRIORITIES)) else wanted)


@numbers.command()
@_change_options
@with_settings
def resume(settings: Settings, number: str, reason: str) -> int:
    """Let a number send again that an operator paused."""
    return _say(settings, number, "resume", reason, None)


def _say(settings: Settings, number: str, verb: str, reason: str, priorities: list[str] | None) -> int:
    if number not in settings.numbers:
        known = ", ".join(settings.numbers) or "none"
        raise click.UsageError(f"NUMBER: {number} is not in the settings; there are: {known}")
    paused, key = verb == "pause", f"number:{number}/pause"
    with open_reader(settings) as reader:
        before = account_states(reader).get(key)
    was = bool(before and before["paused"])
    if was == paused and (not paused or (before and before["priorities"] == priorities)):
        since = f" since {before['at']}, by {before['by']}" if before is not None else ""
        note(f"{number} is {'paused' if paused else 'not paused'} already{since}; nothing is changed")
        return EXIT_DONE
    after = {
        "kind": "number", "id": number, "aspect": "pause", "paused": paused, "priorities": priorities,
        "reason": reason, "at": rfc3339(unix_ms()), "by": actor_name(),
    }  # fmt: skip
    record = Outgoing(ACCOUNT, key, encode(after), headers_for(SCHEMA))
    write_all(settings, [record, audit(verb, f"number:{number}", reason=reason, before=before, after=after)])
    what = f"({', '.join(priorities)} only)" if priorities else "(everything)"
    line(number, ("paused", "wait") if paused else ("resumed", "good"), what if paused else "")
    return EXIT_DONE


# -- how a number stands ---------------------------------------------------------------------------------------------
def _standing(
    settings: Settings, number: str, states: Mapping[str, Mapping[str, Any]], backlog: Mapping[str, int], now_ms: int
) -> dict[str, Any]:
    own: NumberSettings = settings.numbers[number]
    stops = stops_of(number, states, require_webhook=settings.policy.require_webhook, now_ms=now_ms)
    is_partial = bool((states.get(f"number:{number}/pause") or {}).get("priorities"))
    limit = own.rate_per_s or default_limit(own.profile, own.api_version)[0]
    is_still = any(not (stop.startswith("operator") and is_partial) for stop in stops)
    waiting = sum(backlog[name] for name in READY)
    return {
        "number": number,
        "business": own.business,
        "profile": own.profile,
        "limit_per_s": limit,
        "rate_now_per_s": 0.0 if is_still else None,
        "stands_still": stops,
        "backlog": {name.removeprefix("ready-"): backlog[name] for name in READY},
        "delayed": sum(backlog[name] for name in DELAYED),
        "seconds_to_drain": None if is_still and waiting else round(waiting / limit, 1),
    }


def _row(found: Mapping[str, Any]) -> tuple[Cell, ...]:
    drains = found["seconds_to_drain"]
    stops: Sequence[str] = found["stands_still"]
    return (
        found["number"],
        found["business"],
        found["profile"],
        f"{found['limit_per_s']:g}",
        "0" if found["rate_now_per_s"] == 0.0 else "-",
        " ".join(f"{name} {count}" for name, count in found["backlog"].items() if count) or "0",
        str(found["delayed"]),
        "never" if drains is None else f"{drains:.0f} s",
        ("; ".join(stops), "wait") if stops else ("no", "good"),
    )


def _backlogs(settings: Settings) -> dict[str, dict[str, int]]:
    """Uncommitted records by number and lane topic (without the prefix).

    Raises:
        BrokerUnreachable: no broker answered in time.
    """
    group = f"{settings.kafka.topic_prefix}wapipe-sender"
    found = {number: dict.fromkeys((*READY, *DELAYED), 0) for number in settings.numbers}
    consumer = Consumer(reader_conf(settings.kafka, **{"group.id": group}))
    try:
        for partition, (number, _) in settings.lanes().items():
            places = [TopicPartition(settings.topic(name), partition) for name in found[number]]
            for name, place in zip(found[number], consumer.committed(places, CONNECT_TIMEOUT_S), strict=True):
                low, end = consumer.get_watermark_offsets(place, timeout=CONNECT_TIMEOUT_S)
                found[number][name] += end - (max(place.offset, low) if place.offset >= 0 else low)
    except KafkaException as exc:
        raise unreachable(settings, exc) from exc
    finally:
        consumer.close()
    return found
