"""The referee: the rules in their order, and what each leaves behind."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.simulator.answers import login_body
from pipeline.simulator.limits import NS_PER_S
from pipeline.simulator.meters import Meters
from pipeline.simulator.parts import FaultKind, Profile, RateLimit, SpellSettings
from pipeline.simulator.referee import Referee
from pipeline.simulator.requests import Route
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.verdicts import Arrival, Verdict

S = NS_PER_S
CLOUD = Route("messages", "cloud", "200")
V1 = Route("messages", "v1")
D360 = Route("messages", "360dialog")


def _referee(**settings: Any) -> Referee:
    return Referee(SimulatorSettings.model_validate(settings), run=1)


def _body(profile: Profile, to: str = "15550109999") -> bytes:
    body: dict[str, object] = {"to": to, "type": "text", "text": {"body": "hi"}}
    if profile != "v1":
        body |= {"messaging_product": "whatsapp", "biz_opaque_callback_data": "r:1"}
    return orjson.dumps(body)


def _judge(
    referee: Referee,
    t_ns: int = 0,
    where: Route = CLOUD,
    *,
    to: str = "15550109999",
    credential: str = "token",
    body: bytes | None = None,
) -> Verdict:
    body = _body(where.profile, to) if body is None else body
    return referee.judge(Arrival(t_ns, 1000.0 + t_ns / S, where, "/path", credential, body))


def _spell(kind: FaultKind, **changes: object) -> dict[str, object]:
    return {"kind": kind, "for_s": 10, "since": "now", **changes}


@pytest.mark.parametrize(("where", "burst", "status"), [(CLOUD, 80, 429), (D360, 80, 429), (V1, 150, 429)])
def test_default_limits_by_profile(where: Route, burst: int, status: int) -> None:
    """A fresh number may send its profile's burst and is refused after it."""
    referee = _referee()
    verdicts = [_judge(referee, 0, where) for _ in range(burst + 5)]
    assert [verdict.accepted for verdict in verdicts] == [True] * burst + [False] * 5
    assert verdicts[-1].status == status
    assert verdicts[-1].code == (1015 if where is V1 else 130429)


def test_limits_are_per_sender_and_may_be_set_for_one() -> None:
    """Each sender has its own bucket; a limit given for one sender wins over all others."""
    referee = _referee(burst=2, senders={"201": {"rate_per_s": 1, "burst": 1}})
    other = Route("messages", "cloud", "201")
    assert [_judge(referee, 0).accepted for _ in range(3)] == [True, True, False]
    assert [_judge(referee, 0, other).accepted for _ in range(2)] == [True, False]


def test_success_bodies() -> None:
    """Success looks as on the real API, per profile, and ids differ."""
    referee = _referee()
    cloud, v1 = _judge(referee), _judge(referee, 0, V1)
    assert cloud.status == 200
    assert orjson.loads(cloud.body) == {
        "messaging_product": "whatsapp",
        "contacts": [{"input": "15550109999", "wa_id": "15550109999"}],
        "messages": [{"id": cloud.message_id}],
    }
    assert cloud.message_id.startswith("wamid.")
    assert v1.status == 201
    assert set(orjson.loads(v1.body)) == {"messages", "meta"}
    assert orjson.loads(v1.body)["messages"] == [{"id": v1.message_id}]
    assert _judge(referee).message_id != cloud.message_id


def test_refused_requests_take_no_token() -> None:
    """Wrong credentials, wrong bodies, forced errors and spells leave the bucket as it was."""
    referee = _referee(burst=1, rate_per_s=0.001, force={"1": {"code": 131047}})
    referee.spells.add(SpellSettings(kind="429", for_s=1), 0, has_begun=True)
    assert _judge(referee, 0).fault == "429"
    assert _judge(referee, 2 * S, credential="").status == 401
    assert _judge(referee, 2 * S, body=b"{}").status == 400
    assert _judge(referee, 2 * S, to="1").code == 131047
    assert _judge(referee, 2 * S).accepted
    assert not _judge(referee, 2 * S).accepted


def test_rules_come_in_order() -> None:
    """Spell before credentials, credentials before body, body before bucket."""
    referee = _referee(burst=1, rate_per_s=0.001, spells=[_spell("503", for_s=1)])
    assert _judge(referee, 0, credential="", body=b"{}").code == 131016
    assert _judge(referee, 2 * S).accepted
    assert _judge(referee, 2 * S, credential="", body=b"{}").status == 401
    assert _judge(referee, 2 * S, body=b"{}").status == 400
    assert _judge(referee, 2 * S).code == 130429


@pytest.mark.parametrize(
    ("kind", "status", "code", "silence"),
    [
        ("429", 429, 130429, None),
        ("503", 503, 131016, None),
        ("html503", 503, None, None),
        ("500", 500, 131000, None),
        ("400", 400, 131009, None),
        ("reset", 0, None, "reset"),
        ("hang", 0, None, "hang"),
        ("empty", 200, None, None),
    ],
)
def test_spells_take_nothing(kind: FaultKind, status: int, code: int | None, silence: str | None) -> None:
    """A request that a spell hit gets that kind's answer, is not taken and stands in the ledger with the kind."""
    referee = _referee(spells=[_spell(kind)])
    verdict = _judge(referee)
    assert (verdict.status, verdict.code, verdict.silence, verdict.accepted) == (status, code, silence, False)
    row = referee.ledger.row(0)
    assert (row.status, row.accepted, row.fault, row.callback) == (status, False, kind, "r:1")
    if kind == "empty":
        assert orjson.loads(verdict.body)["messages"] == []


def test_lost_takes_the_message_and_says_nothing() -> None:
    """In a `lost` spell the message is taken, with an id, but the client hears a reset."""
    referee = _referee(spells=[_spell("lost")], burst=1)
    verdict = _judge(referee)
    assert (verdict.status, verdict.silence, verdict.accepted) == (0, "reset", True)
    assert referee.ledger.row(0).message_id == verdict.message_id != ""
    assert _judge(referee).status == 429


def test_hang_lasts_to_the_end_of_its_spell() -> None:
    """A hang knows when its silence ends."""
    assert _judge(_referee(spells=[_spell("hang", for_s=3)]), S).silent_to_ns == 3 * S


def test_v1_spells_speak_v1() -> None:
    """429 and 503 on v1 carry 1015 and 1016 in an errors array."""
    for kind, code in (("429", 1015), ("503", 1016)):
        verdict = _judge(_referee(spells=[{"kind": kind, "for_s": 1}]), 0, V1)
        assert orjson.loads(verdict.body)["errors"][0]["code"] == code


def test_retry_after_of_the_bucket() -> None:
    """An empty bucket may say when the next token is there."""
    referee = _referee(burst=1, rate_per_s=0.25, retry_after="auto")
    _judge(referee)
    assert _judge(referee).retry_after == "4"
    assert _judge(_referee(burst=1)).retry_after is None


def test_throttle_status_may_be_400() -> None:
    """The Cloud API's limit errors may come as 400, as older copies of its table say."""
    referee = _referee(burst=1, throttle_status=400)
    _judge(referee)
    verdict = _judge(referee)
    assert (verdict.status, verdict.code) == (400, 130429)


def test_pair_limit_is_off_unless_asked_for() -> None:
    """Many messages to one recipient pass without it, and are refused with 131056 with it, without costing a token."""
    assert all(_judge(_referee(burst=100)).accepted for _ in range(60))
    referee = _referee(burst=3, pair_limit=True, pair_burst=2)
    codes = [_judge(referee, 0, to="1").code for _ in range(4)]
    assert codes == [None, None, 131056, 131056]
    assert _judge(referee, 0, to="2").accepted
    assert _judge(referee, 0, to="3").code == 130429
    referee = _referee(burst=100, pair_limit=True, pair_burst=2)
    assert all(_judge(referee, 0, V1).accepted for _ in range(5))


def test_forced_error_by_webhook_is_accepted_first() -> None:
    """A forced error via webhook takes the message and leaves its code for the status."""
    verdict = _judge(_referee(force={"15550109999": {"code": 131049, "via": "webhook"}}))
    assert (verdict.accepted, verdict.failed_code) == (True, 131049)


def test_forced_error_uses_the_codes_status_or_the_given_one() -> None:
    """The usual HTTP status of a code is used unless another is given; an unknown code is a 400."""
    force = {"1": {"code": 132001}, "2": {"code": 132001, "status": 500}, "3": {"code": 999}}
    referee = _referee(force=force)
    assert [_judge(referee, 0, to=to).status for to in "123"] == [404, 500, 400]


def test_credentials_when_tokens_are_set() -> None:
    """With tokens in the settings only those are right; 360dialog's 401 has its gateway's shape."""
    referee = _referee(tokens=["good"])
    assert _judge(referee, credential="good").accepted
    assert _judge(referee, credential="bad").code == 190
    assert _judge(referee, 0, V1, credential="bad").code == 1005
    assert orjson.loads(_judge(referee, 0, D360, credential="bad").body)["meta"]["http_code"] == 401


def test_sender_is_named_by_number_token_or_user() -> None:
    """Cloud is counted by number, others by token or by the number that the token stands for."""
    referee = _referee(number_of_token={"key": "201"})
    assert _judge(referee).sender == "200"
    assert _judge(referee, 0, V1, credential="token").sender == "token"
    assert _judge(referee, 0, D360, credential="key").sender == "201"
    assert _judge(referee, 0, V1, credential="").sender == "anonymous"


def test_login_tokens_are_right_until_they_expire_and_keep_their_bucket() -> None:
    """A login's token passes, its user is the sender, and a new login after expiry goes on with the same bucket."""
    referee = _referee(logins={"admin": "secret"}, burst=1, rate_per_s=0.001)
    assert referee.credentials.login(referee.settings, "admin", "wrong", 1000.0) is None
    first = referee.credentials.login(referee.settings, "admin", "secret", 1000.0)
    assert first is not None
    verdict = _judge(referee, 0, V1, credential=first[0])
    assert (verdict.accepted, verdict.sender) == (True, "admin")
    assert _judge(referee, 0, V1, credential="other").status == 401
    assert _judge(referee, 8 * 86_400 * S, V1, credential=first[0]).status == 401
    referee.credentials.expire()
    assert _judge(referee, S, V1, credential=first[0]).status == 401
    second = referee.credentials.login(referee.settings, "admin", "secret", 1000.0)
    assert second is not None
    assert second[0] != first[0]
    assert _judge(referee, S, V1, credential=second[0]).status == 429
    assert orjson.loads(login_body("t", 0))["users"][0]["expires_after"] == "1970-01-01 00:00:00+00:00"


def test_other_endpoints_have_buckets_of_their_own() -> None:
    """Every other endpoint has 20/60 for itself and costs the messages endpoint nothing."""
    referee = _referee()
    for path in ("/v24.0/200/media", "/v24.0/200/templates"):
        where = Arrival(0, 0.0, Route("other", "cloud"), path, "token", b"")
        verdicts = [referee.judge_other(where, lambda: Verdict(404, b"{}", 2500)) for _ in range(62)]
        assert [verdict.status for verdict in verdicts] == [404] * 60 + [429] * 2
    assert sum(_judge(referee).accepted for _ in range(90)) == 80
    assert referee.ledger.row(0).profile == "other"


def test_without_enforcement_only_the_envelope_speaks() -> None:
    """With enforce off nothing is refused, and the excess shows how far it went."""
    referee = _referee(enforce=False, burst=10)
    assert all(_judge(referee).accepted for _ in range(30))
    assert referee.senders.snapshot()["200"]["excess"] == 20


def test_stats_count_arrivals_refusals_and_utilisation() -> None:
    """The snapshot adds up: requests = accepted + refused, utilisation = accepted / (burst + rate·t)."""
    referee = _referee(burst=10, rate_per_s=10)
    for _ in range(12):
        _judge(referee)
    for _ in range(10):
        _judge(referee, S)
    snapshot = referee.senders.snapshot()["200"]
    assert (snapshot["requests"], snapshot["accepted"], snapshot["refused"]) == (22, 20, {"429": 2})
    assert snapshot["utilisation"] == 1
    assert snapshot["excess"] == 2
    assert (snapshot["first_ns"], snapshot["last_ns"]) == (0, S)


def test_changed_limits_apply_to_known_senders() -> None:
    """A new limit holds at once, without a fresh burst."""
    referee = _referee(burst=1, rate_per_s=1)
    _judge(referee)
    faster = referee.settings.model_copy(update={"profiles": {"cloud": RateLimit(rate_per_s=100, burst=5)}})
    referee.change(faster, 0)
    assert not _judge(referee).accepted
    assert _judge(referee, S // 100).accepted


def test_reset_starts_over() -> None:
    """After a reset ledger and counters are empty, buckets are full, spells of the settings wait again."""
    referee = _referee(burst=1, spells=[{"kind": "429", "for_s": 1}])
    assert _judge(referee).fault == "429"
    assert _judge(referee, 2 * S).accepted
    referee.reset(3 * S)
    assert len(referee.ledger) == 0
    assert referee.senders.snapshot() == {}
    assert _judge(referee, 4 * S).fault == "429"
    assert _judge(referee, 6 * S).accepted


def test_too_many_senders_share_one_meter() -> None:
    """Invented numbers cannot fill the memory: beyond the maximum they share a bucket."""
    referee = _referee(burst=1)
    referee.senders = Meters(meters_max=2)
    for number in range(5):
        _judge(referee, 0, Route("messages", "cloud", str(number)))
    assert set(referee.senders.snapshot()) == {"0", "1", "(others)"}
