"""Each way out, in each language and shape, from the body of a webhook to the consent update; and each way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.config import PolicySettings, Settings
from pipeline.ingress.outgoing import Translator
from pipeline.metrics import Metrics
from pipeline.records.codec import check
from pipeline.records.consent import ConsentUpdate
from pipeline.whatsapp.stop_words import LANGUAGES, fold
from tests.unit.ingress.support import CLOUD, PERSON, V1, cloud, settings_with, status, text, voice_for_all

NOW_MS = 1_795_300_100_000
POLICY: dict[str, Any] = {
    "stop_keywords": ["Schluss jetzt"], "start_keywords": ["Weiter so"],
    "opt_out_payloads": {"P-OFFERS": {"category": "marketing", "purpose": "offers"}},
}  # fmt: skip
# Written out on purpose: a word that goes from the table has to be missed here.
STOPS = {
    "en": ["STOP", "Stop all", "stopall", "Unsubscribe", "opt-out", "OPT OUT", "optout"],
    "es": ["BAJA", "Parar", "Darme de baja", "dar de baja", "Cancelar suscripción", "cancelar suscripcion"],
    "pt": ["SAIR", "Parar.", "Descadastrar", "remover", "cancelar inscrição"],
    "fr": ["ARRÊT", "arret", "Arrêter", "Désabonner", "me desabonner", "désinscrire"],
    "de": ["STOPP!", "Abmelden", "abbestellen"],
    "it": ["Ferma", "BASTA", "disiscrivimi", "annulla iscrizione", "cancellami"],
    "nl": ["Afmelden", "uitschrijven", "stoppen"],
    "id": ["BERHENTI", "berhenti langganan", "henti"],
    "ar": ["توقف", "قف", "إيقاف", "ايقاف", "إلغاء الاشتراك", "الغاء الاشتراك", "أوقف"],
    "hi": ["रोकें", "रोको", "बंद करें", "बंद करो", "बंद", "Band karo"],
    "tr": ["DUR", "Durdur", "Abonelikten çık", "abonelikten cik", "Aboneliği iptal et"],
    "ru": ["СТОП", "Отписаться", "отпишите", "прекратить"],
    "he": ["הסר", "הסרה", "עצור", "הפסק"],
    "uk": ["Відписатися", "відписатись", "припинити"],
    "pl": ["WYPISZ", "rezygnuje", "anuluj subskrypcję"],
}
STARTS = {
    "en": ["START", "unstop", "Subscribe", "opt in", "optin"],
    "es": ["ALTA", "darme de alta"], "pt": ["Voltar", "cadastrar"], "fr": ["Reprendre", "m’abonner"],
    "de": ["Anmelden", "abonnieren"], "it": ["riprendi", "iscrivimi"], "nl": ["aanmelden", "inschrijven"],
    "id": ["MULAI", "langganan", "lanjutkan"], "ar": ["اشتراك", "اشترك", "ابدأ"], "hi": ["शुरू", "शुरू करें", "chalu karo"],
    "tr": ["BAŞLAT", "abone ol"], "ru": ["Старт", "подписаться", "возобновить"], "he": ["התחל", "הצטרף"],
    "uk": ["підписатися", "відновити"], "pl": ["wznów", "zapisz mnie"],
}  # fmt: skip
SHARED = {("pt", "Parar.")}
"""Words that an earlier language of the table has, too: they count, as that language's."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with words and payloads of the business's own."""
    return settings_with(tmp_path).model_copy(update={"policy": PolicySettings.model_validate(POLICY)})


def heard(settings: Settings, raw: bytes, number: str | None = None) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Consent updates of one webhook, each checked by the contract, and what was counted by way."""
    webhook, metrics = Translator(settings).webhook(raw, NOW_MS, number, voice_for_all(settings)), Metrics()
    webhook.count(metrics)
    updates = [orjson.loads(record.value) for record in webhook.records if record.topic == "consent-updates"]
    for update in updates:
        check(ConsentUpdate, update)
    assert webhook.records[-1].topic == "inbound-events"
    counted = {
        f"{sample.name.removeprefix('wapipe_').removesuffix('_total')} {sample.labels['way']}": sample.value
        for family in metrics.registry.collect()
        if family.name in ("wapipe_opt_outs", "wapipe_opt_out_returns")
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    return updates, counted


def said(words: str) -> dict[str, Any]:
    """A message of one text."""
    return text(words)


def tapped(payload: str, label: str = "x") -> dict[str, Any]:
    """A tap on a quick-reply button of a template."""
    return text("", type="button", button={"payload": payload, "text": label})


def chosen(kind: str, name: str, title: str = "x") -> dict[str, Any]:
    """A reply by an interactive button, or by a row of a list."""
    return text("", type="interactive", interactive={"type": kind, kind: {"id": name, "title": title}})


@pytest.mark.parametrize(("language", "word"), [(name, word) for name, words in STOPS.items() for word in words])
def test_a_stop_word_of_each_language(settings: Settings, language: str, word: str) -> None:
    """It revokes everything for the number's business, and says in which language and to which number it was said."""
    [update], counted = heard(settings, cloud(messages=[said(word)]))
    assert (update["action"], update["categories"], update["purposes"]) == ("revoke", ["*"], ["*"])
    assert (update["evidence"]["method"], update["business"], update["number"]) == ("keyword", "acme", CLOUD)
    assert (update["language"] == language) != ((language, word) in SHARED)
    assert counted == {"opt_outs keyword": 1}
    assert heard(settings, cloud(messages=[said(f"Alpha {word} Omega")]))[0] == []


@pytest.mark.parametrize(("language", "word"), [(name, word) for name, words in STARTS.items() for word in words])
def test_a_start_word_of_each_language(settings: Settings, language: str, word: str) -> None:
    """It takes back what a word took, and is no opt-out."""
    [update], counted = heard(settings, cloud(messages=[said(word)]))
    assert (update["action"], update["categories"], update["evidence"]["method"]) == ("resume", ["*"], "keyword")
    assert update["language"] == language
    assert counted == {"opt_out_returns keyword": 1}


def test_every_word_of_the_table_is_tried() -> None:
    """The lists above name each word that counts."""
    for name, words in LANGUAGES.items():
        assert {fold(word) for word in words.stop} == {fold(word) for word in STOPS[name]}
        assert {fold(word) for word in words.start} == {fold(word) for word in STARTS[name]}


@pytest.mark.parametrize("number", [None, V1])
@pytest.mark.parametrize(
    ("message", "way", "scope", "action"),
    [
        (said("schluss JETZT!"), "keyword", ("*", "*"), "revoke"),
        (said("weiter so"), "keyword", ("*", "*"), "resume"),
        (tapped("P-OFFERS"), "button", ("marketing", "offers"), "revoke"),
        (chosen("button_reply", "P-OFFERS"), "button", ("marketing", "offers"), "revoke"),
        (chosen("list_reply", "P-OFFERS"), "button", ("marketing", "offers"), "revoke"),
        (tapped("P-1", "Unsubscribe"), "button", ("*", "*"), "revoke"),
        (tapped("STOP", "No more"), "button", ("*", "*"), "revoke"),
        (chosen("button_reply", "b-1", "Stop"), "button", ("*", "*"), "revoke"),
        (chosen("list_reply", "r-1", "Abmelden"), "button", ("*", "*"), "revoke"),
    ],
)
def test_words_and_buttons_of_both_shapes(
    settings: Settings, message: dict[str, Any], way: str, scope: tuple[str, str], action: str, number: str | None
) -> None:
    """Own words and every kind of button count in a cloud envelope and in a v1 body, whose path names the number."""
    raw = cloud(messages=[message]) if number is None else orjson.dumps({"messages": [message]})
    [update], counted = heard(settings, raw, number)
    assert (update["recipient"], update["number"]) == (PERSON, number or CLOUD)
    assert (update["categories"], update["purposes"], update["action"]) == ([scope[0]], [scope[1]], action)
    assert counted == {f"{'opt_outs' if action == 'revoke' else 'opt_out_returns'} {way}": 1}


@pytest.mark.parametrize(
    ("value", "action", "name"), [("stop", "revoke", "opt_outs"), ("resume", "resume", "opt_out_returns")]
)
def test_whatsapps_own_stop_and_resume(settings: Settings, value: str, action: str, name: str) -> None:
    """Both concern marketing only, by a method of their own, and are no message to a number."""
    row = {"wa_id": PERSON, "category": "marketing_messages", "value": value, "timestamp": 1795300000}
    [update], counted = heard(settings, cloud(field="user_preferences", user_preferences=[row]))
    assert (update["action"], update["categories"], update["evidence"]["method"]) == (
        action,
        ["marketing"],
        "preference",
    )
    assert (update["number"], update["at"]) == (None, "2026-11-21T22:26:40.000Z")
    assert counted == {f"{name} preference": 1}


@pytest.mark.parametrize("number", [None, V1])
def test_a_failed_status_that_tells_of_a_stop(settings: Settings, number: str | None) -> None:
    """Code 131050 is WhatsApp's own stop, heard of by a message that failed."""
    failed = status("failed", errors=[{"code": 131050}])
    raw = cloud(statuses=[failed]) if number is None else orjson.dumps({"statuses": [failed]})
    [update], counted = heard(settings, raw, number)
    assert (update["action"], update["categories"], update["evidence"]["method"]) == (
        "revoke",
        ["marketing"],
        "preference",
    )
    assert counted == {"opt_outs status": 1}


def test_only_chosen_languages_count(settings: Settings) -> None:
    """A business whose customers use a word for something else takes that language out."""
    policy = PolicySettings.model_validate({**POLICY, "keyword_languages": ["en"]})
    chosen_only = settings.model_copy(update={"policy": policy})
    assert heard(chosen_only, cloud(messages=[said("baja")]))[0] == []
    assert len(heard(chosen_only, cloud(messages=[said("stop")]))[0]) == 1
