"""One form per phone number where several are in use: Brazil, Mexico, Argentina. Pure.

WhatsApp may know a person by another form of the number than the one that was written to: the answer's and the
webhooks' `wa_id` differs from `to` (Meta, sending messages: prefixes of Brazil and Mexico may be rewritten). Consent,
windows, suppressions and order belong to the person, so whatever is keyed by a person is keyed by this form; what is
posted, and what events call `recipient`, stays what upstream wrote.

- Brazil: mobile numbers got a ninth digit, a 9 in front of the eight (Anatel, 2012 to 2016); many WhatsApp ids lack it.
  Canonical: with it. Eight digits that begin with 2 to 5 are a landline's and have none.
- Mexico: mobile numbers were written with a 1 after the country code until 2019 (IFT); area codes never begin with 1.
  Canonical: without it.
- Argentina: mobile numbers are written with a 9 after the country code from abroad, with a 15 after the area code at
  home (ENACOM, numbering plan); the ten digits of area code and number are unique without either. Canonical: with 9.
"""

from __future__ import annotations

import re
from typing import Final

_BRAZIL: Final = re.compile(r"(55[1-9][1-9])([6-9][0-9]{7})", re.ASCII)
_MEXICO: Final = re.compile(r"521([2-9][0-9]{9})", re.ASCII)
# Area codes of two and three digits; all others have four (ENACOM, indicativos interurbanos).
_AREA: Final = (
    "11|220|221|223|230|236|237|249|260|261|263|264|266|280|291|294|297|298|299|336|341|342|343|345|348|351|353|358|362"
    "|364|370|376|379|380|381|383|385|387|388|[2-3][0-9]{3}"
)
_ARGENTINA_ABROAD: Final = re.compile(r"54([1-3][0-9]{9})", re.ASCII)
_ARGENTINA_AT_HOME: Final = re.compile(rf"549?({_AREA})15([0-9]{{6,8}})", re.ASCII)
_AREA_AND_NUMBER: Final = 10
_RULED: Final = ("52", "54", "55")


def canonical(recipient: str) -> str:
    """The form that stands for a person; of any other country, and of user ids, the recipient itself.

    Args:
        recipient: Normalised: digits, or a business-scoped user id.
    """
    if not recipient.startswith(_RULED):
        return recipient
    if recipient.startswith("55"):
        found = _BRAZIL.fullmatch(recipient)
        return f"{found[1]}9{found[2]}" if found else recipient
    if recipient.startswith("52"):
        found = _MEXICO.fullmatch(recipient)
        return f"52{found[1]}" if found else recipient
    return _argentina(recipient)


def _argentina(recipient: str) -> str:
    found = _ARGENTINA_ABROAD.fullmatch(recipient)
    if found:
        return f"549{found[1]}"
    found = _ARGENTINA_AT_HOME.fullmatch(recipient)
    if found and len(found[1]) + len(found[2]) == _AREA_AND_NUMBER:
        return f"549{found[1]}{found[2]}"
    return recipient


def is_name(known_as: str) -> bool:
    """Whether an id is a business-scoped user id: another name of the same account, not another number."""
    return not known_as.isdigit()
