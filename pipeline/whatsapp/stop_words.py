"""Words by which people end and resume messages, by language. Pure; `optout.py` compares whole messages with them.

A word stands here if people use it alone for nothing else: a wrong opt-out costs a customer, a missed one the number's
quality. Left out for that reason: `cancel`, `end`, `quit` and their like (an order is cancelled, too), `no`, `yes`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple


class Words(NamedTuple):
    """Words of one language, as people write them; case, diacritics and punctuation around them do not matter."""

    stop: tuple[str, ...]
    start: tuple[str, ...]


LANGUAGES: Final[Mapping[str, Words]] = {
    # English: the words that mobile operators made known.
    "en": Words(
        ("stop", "stop all", "stopall", "unsubscribe", "opt out", "optout"),
        ("start", "unstop", "subscribe", "opt in", "optin"),
    ),
    # Spanish: "baja" and "alta" are what a subscription is ended and begun with.
    "es": Words(("baja", "parar", "darme de baja", "dar de baja", "cancelar suscripción"), ("alta", "darme de alta")),
    # Portuguese: "sair" and "descadastrar" in Brazil, "remover" in Portugal.
    "pt": Words(("sair", "parar", "descadastrar", "remover", "cancelar inscrição"), ("voltar", "cadastrar")),
    # French: "arrêt" is the word in Canada, where operators require it; "stop" in France.
    "fr": Words(("arrêt", "arrêter", "désabonner", "me désabonner", "désinscrire"), ("reprendre", "m'abonner")),
    # German: "Stopp" is the noun; umlauts also as two letters.
    "de": Words(("stopp", "abmelden", "abbestellen"), ("anmelden", "abonnieren")),
    # Italian: imperative and infinitive.
    "it": Words(("ferma", "basta", "disiscrivimi", "annulla iscrizione", "cancellami"), ("riprendi", "iscrivimi")),
    # Dutch: "afmelden" is the usual word under newsletters.
    "nl": Words(("afmelden", "uitschrijven", "stoppen"), ("aanmelden", "inschrijven")),
    # Indonesian: "berhenti" is what operators use; with and without "langganan".
    "id": Words(("berhenti", "berhenti langganan", "henti"), ("mulai", "langganan", "lanjutkan")),
    # Arabic: stop (noun, imperative), cancel the subscription; hamza forms are folded together.
    "ar": Words(("توقف", "قف", "إيقاف", "ايقاف", "إلغاء الاشتراك", "أوقف"), ("اشتراك", "اشترك", "ابدأ")),
    # Hindi: "stop", "close", "unsubscribe", and the usual way to write them in Latin letters.
    "hi": Words(("रोकें", "रोको", "बंद करें", "बंद करो", "बंद", "band karo"), ("शुरू", "शुरू करें", "chalu karo")),
    # Turkish: dotted and dotless i are one letter here, whatever the keyboard.
    "tr": Words(("dur", "durdur", "abonelikten çık", "aboneliği iptal et"), ("başlat", "abone ol")),
    # Russian: "стоп", imperative and infinitive of unsubscribe.
    "ru": Words(("стоп", "отписаться", "отпишите", "прекратить"), ("старт", "подписаться", "возобновить")),
    # Hebrew: "remove" is the word that the law on advertising made usual.
    "he": Words(("הסר", "הסרה", "עצור", "הפסק"), ("התחל", "הצטרף")),
    # Ukrainian.
    "uk": Words(("відписатися", "відписатись", "припинити"), ("підписатися", "відновити")),
    # Polish.
    "pl": Words(("wypisz", "rezygnuję", "anuluj subskrypcję"), ("wznów", "zapisz mnie")),
}

OWN: Final = "own"
"""Stands for the language of words from the settings."""

_ALIKE: Final = str.maketrans({
    "ı": "i", "ł": "l", "ø": "o", "đ": "d",  # letters that do not decompose
    "ى": "ي", "ة": "ه", "ـ": None,  # Arabic: final forms written either way, and the stretching line
    "’": "'", "`": "'",
})  # fmt: skip
_VIRAMA: Final = 9
"""Combining class of the sign that takes a consonant's vowel away in scripts of India: part of the word, no accent."""


def fold(text: str) -> str:
    """A text as words are compared: `STOP!`, ` stop `, `stóp` and `ＳＴＯＰ` are one.

    Without case, diacritics (also Arabic and Hebrew vowel points), invisible marks (keyboards for scripts written from
    right to left add them), and the punctuation, symbols and blanks around it; a run of blanks or dashes inside is one
    blank.
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    shown = (char for char in decomposed if unicodedata.combining(char) in (0, _VIRAMA) and not _is_hidden(char))
    plain = "".join(shown).casefold().translate(_ALIKE)
    begin, end = 0, len(plain)
    while begin < end and _is_around(plain[begin]):
        begin += 1
    while end > begin and _is_around(plain[end - 1]):
        end -= 1
    return " ".join("".join(" " if unicodedata.category(char) == "Pd" else char for char in plain[begin:end]).split())


def stops(languages: Iterable[str], own: Iterable[str] = ()) -> dict[str, str]:
    """Folded STOP words → language; words of the settings under `OWN`, unless a language has them."""
    return _by_word(((name, LANGUAGES[name].stop) for name in languages), own)


def starts(languages: Iterable[str], own: Iterable[str] = ()) -> dict[str, str]:
    """The same of START words."""
    return _by_word(((name, LANGUAGES[name].start) for name in languages), own)


def _by_word(tables: Iterable[tuple[str, Iterable[str]]], own: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for language, words in (*tables, (OWN, own)):
        for word in words:
            found.setdefault(fold(word), language)
    found.pop("", None)  # nothing but punctuation is no word
    return found


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f"


def _is_around(char: str) -> bool:
    return unicodedata.category(char)[0] in "PSZC"
