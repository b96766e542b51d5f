"""What `wapipe doctor` looks at: this machine, Kafka, the API. Blocking calls, each with an end of its own.

The only thing written is a tombstone of a key that nobody has, on `account-state`: its timestamp is the broker's clock.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.cli.config import secret_problems
from pipeline.clock import steady_s, unix_ms
from pipeline.config import Settings
from pipeline.errors import BrokerUnreachable, ConfigError, TopicsWrong
from pipeline.health import PORTS
from pipeline.operations.account import account_states
from pipeline.operations.acts import Outgoing
from pipeline.operations.reading import open_reader
from pipeline.operations.writing import write_one
from pipeline.secrets import token_of
from pipeline.streams.topics import DELAYED, READY, Change, Found, admin, blocking, compare, read_broker
from pipeline.whatsapp.client import Client, RequestFailed
from pipeline.whatsapp.look import FIELDS, Seen, look_at, read_look, unanswered
from pipeline.whatsapp.profiles import PROFILES

KAFKA_TIMEOUT_S: Final = 5.0
API_TIMEOUT_S: Final = 5.0
METRICS_TIMEOUT_S: Final = 2.0
LOCAL: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
CLOCK_KEY: Final = "doctor/clock"
ENTRANCES: Final = ("outbound-requests-urgent", "outbound-requests", "consent-updates", "inbound-events")
"""What gates read."""
_LAG: Final = re.compile(rb"^wapipe_opt_out_reader_lag_seconds (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group.

    Attributes:
        members: Processes in it.
        state: In Kafka's word, e.g. `STABLE`.
        lag: Records that it has not finished.
    """

    members: int
    state: str
    lag: int


@dataclass(frozen=True, slots=True)
class Broker:
    """Kafka, as far as it was looked at.

    Attributes:
        took_ms: Until its topics were read.
        skew_s: How far this host's clock is ahead of the broker's; None: not measured.
        states: Newest value by key of `account-state`.
        groups: By role; a text: why it is not known.
    """

    took_ms: int
    changes: list[Change]
    skew_s: float | None = None
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: Mapping[str, Group | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Looked:
    """The API, looked at for one number; `skew_s` as in `Broker`, by the `Date` of the answer (whole seconds)."""

    seen: Seen
    skew_s: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All there is to judge; a text in place of something says why it is not known.

    Attributes:
        opt_out_lag_s: How far behind the opt-out reader of this machine's sender is.
        free_bytes: Room in the data folder.
    """

    settings: Settings
    now_ms: int
    secrets: list[str]
    free_bytes: int | str
    broker: Broker | str
    looks: Mapping[str, Looked | str]
    opt_out_lag_s: float | str


def gather(settings: Settings) -> Facts:
    """Look at everything; never raises for what it finds."""
    broker = _broker(settings)
    return Facts(
        settings, unix_ms(), secret_problems(settings), _free_bytes(settings.storage.data_dir), broker,
        asyncio.run(_look_at_all(settings)), _opt_out_lag_s(settings),
    )  # fmt: skip


# -- this machine ------------------------------------------------------------------------------------------------------
def _free_bytes(folder: Path) -> int | str:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written to"
    return shutil.disk_usage(there).free


def _opt_out_lag_s(settings: Settings) -> float | str:
    port = settings.http.port if settings.http.port is not None else PORTS["sender"]
    host = LOCAL.get(settings.http.host, settings.http.host)
    url = f"http://{host}:{port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=METRICS_TIMEOUT_S) as answer:
            found = _LAG.search(answer.read())
    except (OSError, ValueError):
        return f"no sender answers at {url}"
    return float(found[1]) if found is not None else f"no sender answers at {url}, but another role"


# -- Kafka -------------------------------------------------------------------------------------------------------------
def _broker(settings: Settings) -> Broker | str:
    began_s = steady_s()
    try:
        found = read_broker(settings, KAFKA_TIMEOUT_S)
        took_ms = int((steady_s() - began_s) * 1000)
        changes = compare(settings, found)
        if blocking(changes):
            return Broker(took_ms, changes)
        with open_reader(settings) as reader:
            states = account_states(reader)
        client = admin(settings)
        topics = {"gate": ENTRANCES, "sender": (*READY, *DELAYED)}
        groups = {role: _group(settings, client, role, names, found) for role, names in topics.items()}
        return Broker(took_ms, changes, _skew_s(settings), states, groups)
    except (BrokerUnreachable, TopicsWrong, ConfigError) as exc:
        return str(exc)


def _skew_s(settings: Settings) -> float:
    before_ms = unix_ms()
    stamp_ms = write_one(settings, Outgoing("account-state", CLOCK_KEY, None, [])).timestamp_ms
    after_ms = unix_ms()
    return (min(0, after_ms - stamp_ms) + max(0, before_ms - stamp_ms)) / 1000


def _group(
    settings: Settings, client: AdminClient, role: str, topics: tuple[str, ...], found: Mapping[str, Found]
) -> Group | str:
    name = settings.group(role)
    try:
        told = client.describe_consumer_groups([name], request_timeout=KAFKA_TIMEOUT_S)[name].result()
        request = [ConsumerGroupTopicPartitions(name)]
        answer = client.list_consumer_group_offsets(request, request_timeout=KAFKA_TIMEOUT_S)[name].result()
        committed = {(tp.topic, tp.partition): tp.offset for tp in answer.topic_partitions if tp.offset >= 0}
        places = [TopicPartition(settings.topic(t), p) for t in topics for p in range(found[t].partitions)]
        ends = _offsets(client, places, OffsetSpec.latest())
        begins = _offsets(
            client, [tp for tp in places if (tp.topic, tp.partition) not in committed], OffsetSpec.earliest()
        )
    except KafkaException as exc:
        return str(exc.args[0])
    lag = sum(max(0, end - {**begins, **committed}.get(place, end)) for place, end in ends.items())
    return Group(len(told.members), told.state.name, lag)


def _offsets(client: AdminClient, places: list[TopicPartition], spec: Any) -> dict[tuple[str, int], int]:
    if not places:
        return {}
    answers = client.list_offsets(dict.fromkeys(places, spec), request_timeout=KAFKA_TIMEOUT_S)
    return {(tp.topic, tp.partition): future.result().offset for tp, future in answers.items()}


# -- API ---------------------------------------------------------------------------------------------------------------
async def _look_at_all(settings: Settings) -> dict[str, Looked | str]:
    async with Client(API_TIMEOUT_S) as client:
        looks = [_look(client, settings, number) for number in settings.numbers]
        return dict(zip(settings.numbers, await asyncio.gather(*looks), strict=True))


async def _look(client: Client, settings: Settings, number: str) -> Looked | str:
    conf = settings.numbers[number]
    if conf.login is not None:
        return "it logs in: only a sender holds its token"
    try:
        endpoint = PROFILES[conf.profile].endpoint(conf.base_url, number, token_of(number, conf))
    except ConfigError as exc:
        return str(exc)
    where = look_at(conf.profile, conf.base_url, number, endpoint, fields=FIELDS)
    before_ms = unix_ms()
    try:
        answer = await client.get(where.url, where.headers)
    except RequestFailed as exc:
        return Looked(unanswered(exc.cause))
    seen = read_look(answer.status, answer.headers, answer.body, before_ms / 1000)
    return Looked(seen, _date_skew_s(answer.headers.get("Date"), before_ms, unix_ms()))


def _date_skew_s(date: str | None, before_ms: int, after_ms: int) -> float | None:
    """This host's clock against an HTTP date, which names the second that had begun."""
    try:
        stamp_ms = int(parsedate_to_datetime(date or "").timestamp() * 1000)
    except (TypeError, ValueError):
        return None
    return (min(0, after_ms - stamp_ms) + max(0, before_ms - stamp_ms - 1000)) / 1000
