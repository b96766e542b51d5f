"""Limits beyond one number, scripts, templates, windows and stops, as the referee has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.errors import ConfigError
from pipeline.simulator import scripts
from pipeline.simulator.limits import NS_PER_S
from pipeline.simulator.parts import Profile, Script
from pipeline.simulator.referee import Referee
from pipeline.simulator.requests import Route
from pipeline.simulator.scripts import Scripts, read_table
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.templates import Templates
from pipeline.simulator.verdicts import Arrival, Verdict

S = NS_PER_S
CLOUD = Route("messages", "cloud", "200")
V1 = Route("messages", "v1")
MARKETING = Route("marketing", "cloud", "200")
HOUR_S = 3600.0
TEXTS = [{"type": "text", "text": "Ada"}, {"type": "text", "text": "4711"}]
TEXT_BODY = {"type": "body", "parameters": TEXTS}
MIXED_BODY = {"type": "body", "parameters": [TEXTS[0], {"type": "date_time", "date_time": {"fallback_value": "now"}}]}
TEXT_HEADER = {"type": "header", "parameters": [TEXTS[0]]}


def _referee(**settings: Any) -> Referee:
    return Referee(SimulatorSettings.model_validate(settings), run=1)


def _judge(
    referee: Referee, where: Route = CLOUD, t_s: float = 0, to: str = "15550109999", **content: object
) -> Verdict:
    body: dict[str, object] = {"to": to, "type": "text", "text": {"body": "hi"}}
    if content:
        (kind,) = content
        body = {"to": to, "type": kind, **content}
    if where.profile != "v1":
        body["messaging_product"] = "whatsapp"
    return referee.judge(Arrival(round(t_s * S), 1000.0 + t_s, where, "/path", "token", orjson.dumps(body)))


def _template(
    name: str = "promo", *texts: str, language: str = "en_US", components: list[object] | None = None
) -> dict[str, object]:
    if components is None:
        parameters = [{"type": "text", "text": text} for text in texts]
        components = [{"type": "body", "parameters": parameters}] if texts else []
    return {"name": name, "language": {"policy": "deterministic", "code": language}, "components": components}


def test_account_and_app_limits_span_numbers() -> None:
    """All numbers of an account share 80007, all numbers of the app share 4; another account goes on."""
    accounts = {"200": "a", "201": "a", "202": "b"}
    referee = _referee(accounts=accounts, account_limit={"rate_per_s": 0.001, "burst": 2})
    codes = [_judge(referee, Route("messages", "cloud", number)).code for number in ("200", "201", "201", "202")]
    assert codes == [None, None, 80007, None]
    referee = _referee(accounts=accounts, app_limit={"rate_per_s": 0.001, "burst": 2})
    codes = [_judge(referee, Route("messages", "cloud", number)).code for number in ("200", "202", "201")]
    assert codes == [None, None, 4]


def test_spell_of_an_account_with_any_code() -> None:
    """A spell tells any code, to the numbers of one account alone: maintenance here."""
    spell = {"kind": "code", "code": 131057, "for_s": 10, "since": "now", "account": "a"}
    referee = _referee(accounts={"200": "a"}, spells=[spell])
    assert (_judge(referee).status, _judge(referee).code) == (500, 131057)
    assert _judge(referee, Route("messages", "cloud", "201")).accepted


def test_slow_spell_takes_the_message() -> None:
    """In a slow spell the message is taken and answered later."""
    verdict = _judge(_referee(spells=[{"kind": "slow", "delay_s": 7, "for_s": 10, "since": "now"}]))
    assert (verdict.accepted, verdict.status, verdict.delay_s, verdict.fault) == (True, 200, 7, "slow")


def test_spell_everywhere_hits_the_login_too() -> None:
    """An overloaded host refuses its login, too, if the spell is everywhere; else not."""
    login = Arrival(S, 1001.0, Route("login", "v1"), "/v1/users/login", "", b"")
    for everywhere, status in ((True, 503), (False, 200)):
        referee = _referee(spells=[{"kind": "503", "for_s": 10, "since": "now", "everywhere": everywhere}])
        assert referee.judge_other(login, lambda: Verdict(200, b"{}")).status == status


def test_turn_windows_tell_of_themselves() -> None:
    """Turn.io counts 60 in 60 s per kind of call, says so in headers, and when to come back in Retry-After."""
    referee = _referee(v1_window={"requests": 2, "window_s": 60})
    first = _judge(referee, V1)
    assert first.headers == {
        "X-Ratelimit-Bucket": "text",
        "X-Ratelimit-Limit": "2",
        "X-Ratelimit-Remaining": "1",
        "X-Ratelimit-Reset": "1020",
    }
    assert _judge(referee, V1).accepted
    refused = _judge(referee, V1, 5)
    assert (refused.status, refused.code) == (429, 1015)
    assert refused.headers is not None
    assert refused.headers["Retry-After"] == "15"
    assert _judge(referee, V1, 5, image={"id": "1"}).accepted
    assert _judge(referee, V1, 20).accepted


def test_throttle_in_the_gateways_words() -> None:
    """360dialog's gateway may refuse in its own shape, as HTTP 400."""
    referee = _referee(burst=1, rate_per_s=0.001, dialog_throttle="gateway")
    where = Route("messages", "360dialog")
    _judge(referee, where)
    verdict = _judge(referee, where)
    assert (verdict.status, orjson.loads(verdict.body)["meta"]["http_code"]) == (400, 400)


def test_scripts_play_one_outcome_after_the_other() -> None:
    """Each message of a recipient meets the next outcome, the last one stays, others meet nothing."""
    outcomes = [
        "answer:131026",
        "empty",
        "reset",
        "lost",
        "slow:3",
        "webhook:131049",
        "both:131047",
        "silence",
        "accept",
    ]
    referee = _referee(scripts=[{"recipient": "1555*", "outcomes": outcomes, "statuses": ["sent"]}])
    found = [_judge(referee) for _ in range(10)]
    assert [(verdict.status, verdict.accepted) for verdict in found] == [
        (400, False), (200, False), (0, False), (0, True), (200, True), (200, True), (400, False), (200, True),
        (200, True), (200, True),
    ]  # fmt: skip
    assert [verdict.failed_code for verdict in found[5:8]] == [131049, 131047, None]
    assert found[6].message_id
    assert (found[4].delay_s, found[7].statuses, found[9].statuses) == (3, (), ("sent",))
    assert _judge(referee, to="4930").fault == ""


def test_scripts_wait_for_a_message_that_is_taken() -> None:
    """A message that the limit refuses uses up no outcome."""
    referee = _referee(burst=1, rate_per_s=1, scripts=[{"recipient": "1", "outcomes": ["webhook:131026", "accept"]}])
    _judge(referee, to="2")
    assert _judge(referee, to="1").code == 130429
    assert _judge(referee, t_s=1, to="1").failed_code == 131026


def test_script_cursors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest unused recipients start over when there are too many."""
    monkeypatch.setattr(scripts, "CURSORS_MAX", 2)
    played = Scripts([Script(recipient="*", outcomes=("lost", "accept"))])
    for recipient in "123":
        played.step(recipient)
    kinds = [outcome.kind for recipient in "123" if (outcome := played.peek(recipient))]
    assert kinds == ["lost", "accept", "accept"]


def test_table_files(tmp_path: Path) -> None:
    """A table of scripts is read from CSV and TOML; what is wrong is named with file and line."""
    table = tmp_path / "a.csv"
    table.write_text("recipient,outcomes,statuses\n1555,answer:131026 accept,sent read\n*,accept,\n")
    rows = read_table(table)
    assert rows[0] == Script(recipient="1555", outcomes=("answer:131026", "accept"), statuses=("sent", "read"))
    assert rows[1].statuses is None
    toml = tmp_path / "a.toml"
    toml.write_text('[[scripts]]\nrecipient = "1555"\noutcomes = ["lost"]\n')
    assert read_table(toml)[0].outcomes == ("lost",)
    for text, named in (
        ("who,what\n", "line 1"),
        ("recipient,outcomes\n1555,accept\n1556,explode\n", "line 3: outcomes.0"),
        ("recipient,outcomes\n1555,accept,sent,more\n", "line 2"),
    ):
        table.write_text(text)
        with pytest.raises(ConfigError, match=named):
            read_table(table)
    with pytest.raises(ConfigError, match="name a UTF-8 file"):
        read_table(tmp_path / "none.csv")


def test_template_goes_through_its_states() -> None:
    """Paused 3 h, back, paused 6 h, back, disabled for good; each step has its webhook."""
    templates, key = Templates((3 * HOUR_S, 6 * HOUR_S)), ("promo", "en_US")
    told = [*templates.pause(key, 0, None), *templates.tick(3 * HOUR_S - 1)]
    assert templates.due_s() == 3 * HOUR_S
    told += [*templates.tick(3 * HOUR_S), *templates.pause(key, 4 * HOUR_S, None), *templates.tick(9 * HOUR_S)]
    told += [
        *templates.tick(10 * HOUR_S),
        *templates.pause(key, 11 * HOUR_S, None),
        *templates.pause(key, 12 * HOUR_S, None),
    ]
    assert [(change.value["event"], change.value["other_info"]["title"]) for change in told] == [
        ("PAUSED", "FIRST_PAUSE"),
        ("APPROVED", "UNPAUSE"),
        ("PAUSED", "SECOND_PAUSE"),
        ("APPROVED", "UNPAUSE"),
        ("DISABLED", "DISABLED"),
    ]
    assert {change.field for change in told} == {"message_template_status_update"}
    assert told[0].value["message_template_language"] == "en-US"


@pytest.mark.parametrize(("profile", "codes"), [("cloud", (132015, 132016)), ("v1", (2061, 2062))])
def test_messages_with_a_paused_template_are_refused(profile: Profile, codes: tuple[int, int]) -> None:
    """A paused template has a code of its own, a disabled one another; other templates go on."""
    referee, where = _referee(), Route("messages", profile, "200" if profile == "cloud" else None)
    templates = referee.conduct.templates
    templates.pause(("promo", "en_US"), 1000.0, None)
    assert _judge(referee, where, template=_template()).code == codes[0]
    templates.become(("promo", "en_US"), "DISABLED", None)
    assert _judge(referee, where, template=_template()).code == codes[1]
    assert _judge(referee, where, template=_template("other")).accepted


@pytest.mark.parametrize(
    ("template", "cloud", "v1"),
    [
        (_template("order", "Ada", "4711"), None, None),
        (_template("order", "Ada"), 132000, 2000),
        (_template("order", "Ada", "4711", language="de"), 132001, 2001),
        (_template("nothing"), 132001, 2001),
        (_template("order", components=[MIXED_BODY]), 132012, 2012),
        (_template("order", components=[TEXT_BODY, TEXT_HEADER]), 132000, 2000),
    ],
)
def test_values_must_fit_the_registered_template(template: dict[str, object], cloud: int, v1: int) -> None:
    """Number and kind of the values are those that were registered."""
    registered = [{"name": "order", "body": ["text", "text"]}]
    referee = _referee(strict_templates=True, templates=registered)
    assert _judge(referee, template=template).code == cloud
    assert _judge(referee, V1, template=template).code == v1


def test_marketing_endpoint_takes_marketing_templates_only() -> None:
    """`marketing_messages` refuses other types (131055) and other categories (134100)."""
    registered = [{"name": "promo", "category": "marketing"}, {"name": "order"}]
    referee = _referee(templates=registered)
    assert _judge(referee, MARKETING).code == 131055
    assert _judge(referee, MARKETING, template=_template("order")).code == 134100
    assert _judge(referee, MARKETING, template=_template("promo")).accepted
    off = _referee(templates=registered, marketing_on_cloud=False)
    assert _judge(off, template=_template("promo")).code == 131063
    assert _judge(off, MARKETING, template=_template("promo")).accepted


def test_windows_close_after_a_day() -> None:
    """With windows enforced a free-form message needs a message of that person within 24 h; templates do not."""
    referee = _referee(windows="answer")
    assert _judge(referee).code == 131047
    assert _judge(referee, template=_template()).accepted
    referee.conduct.hear("200", "15550109999", 1000.0)
    assert _judge(referee, t_s=86_399).accepted
    assert _judge(referee, t_s=86_400).code == 131047
    assert _judge(_referee(windows="answer"), V1).failed_code == 470
    assert _judge(_referee(windows="webhook")).failed_code == 131047
    assert _judge(_referee()).accepted


def test_marketing_after_a_stop_is_refused() -> None:
    """A person who stopped marketing hears none (131050), until they resume; utility goes on."""
    referee = _referee(templates=[{"name": "promo", "category": "marketing"}, {"name": "order"}])
    account = referee.settings.account_of("200")
    referee.conduct.prefer(account, "15550109999", is_stop=True)
    assert _judge(referee, template=_template("promo")).code == 131050
    assert _judge(referee, template=_template("order")).accepted
    assert _judge(referee, to="1", template=_template("promo")).accepted
    referee.conduct.prefer(account, "15550109999", is_stop=False)
    assert _judge(referee, template=_template("promo")).accepted


def test_nobody_writes_to_themselves_and_user_ids_take_no_codes() -> None:
    """The number's own phone is no recipient (131021); an authentication template needs a phone (131062)."""
    referee = _referee(phones={"200": "15550100001"}, templates=[{"name": "otp", "category": "authentication"}])
    assert _judge(referee, to="+1 555 010 0001").code == 131021
    assert _judge(referee, to="US.1A", template=_template("otp")).code == 131062
    assert _judge(referee, to="US.1A").accepted


def test_unknown_media_are_refused_if_asked_for() -> None:
    """With `strict_media` an id must have been uploaded, in templates, too; without it any id passes."""
    assert _judge(_referee(), image={"id": "1"}).accepted
    referee = _referee(strict_media=True)
    header = {"type": "header", "parameters": [{"type": "image", "image": {"id": "1"}}]}
    assert _judge(referee, image={"id": "1"}).code == 131009
    assert _judge(referee, V1, image={"id": "1"}).code == 1006
    assert _judge(referee, template={**_template(), "components": [header]}).code == 131009
    assert _judge(referee, image={"link": "https://a.example/b"}).accepted


def test_tokens_follow_the_long_clock() -> None:
    """Seven days pass at once when the clock is advanced; a new login gives another token, a logout ends it."""
    referee = _referee(logins={"admin": "secret"})

    def login() -> str:
        given = referee.credentials.login(referee.settings, "admin", "secret", referee.clock.at(1000.0))
        assert given is not None
        return given[0]

    def is_right(token: str) -> bool:
        return referee.has_access(Arrival(0, 1000.0, V1, "/v1/messages", token, b""))

    first = login()
    assert login() == first
    referee.clock.advance(7 * 86_400 - 1)
    assert is_right(first)
    referee.clock.advance(1)
    assert not is_right(first)
    second = login()
    assert (second != first, is_right(second)) == (True, True)
    referee.credentials.logout(second)
    assert not is_right(second)


def test_clock_speed_compresses_hours() -> None:
    """The long clock runs as many times faster as it is told."""
    clock = _referee(clock_speed=3600).clock
    assert clock.at(1001.0) - clock.at(1000.0) == pytest.approx(3600)
    assert clock.real_s(10_800) == 3


def test_same_seed_same_decisions() -> None:
    """Two runs with one seed decide alike about the same requests; another seed decides otherwise."""

    def decisions(seed: int) -> list[tuple[int, int | None]]:
        referee = _referee(
            seed=seed,
            force={"1": {"code": 131026, "probability": 0.5}},
            spells=[{"kind": "503", "for_s": 60, "since": "now", "probability": 0.3}],
        )
        verdicts = [_judge(referee, to="1") for _ in range(60)]
        return [(verdict.status, verdict.code) for verdict in verdicts]

    assert decisions(1) == decisions(1) != decisions(2)
