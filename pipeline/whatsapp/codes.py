"""Every error code of the WhatsApp APIs as one row: what it means and what to do about it.

Data and one look-up; pure, used by any task. `CODES` joins the Cloud rows (`codes_cloud.py`) with those of the
On-Premises shape (`codes_v1.py`); no number means two things. The code decides before the HTTP status does: Meta
asks for it, and its own statuses mislead (3 and 131045 come as 500 and never heal; 1 comes as 400 and may).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pipeline.whatsapp.code_row import CodeRow, Disposition
from pipeline.whatsapp.codes_cloud import CLOUD_ROWS
from pipeline.whatsapp.codes_v1 import V1_ROWS

CODES: Mapping[int, CodeRow] = MappingProxyType({row.code: row for row in (*CLOUD_ROWS, *V1_ROWS)})
"""Row of each code of both shapes."""

WITHOUT_A_ROW: Mapping[str, str] = MappingProxyType(
    {
        "102": "seen in test fixtures of one integration only; no meaning published: the HTTP status decides",
        "506 131001 131002 131006 131043 132008 133001 133002 133003 133007 136025": (
            "in older lists, not on Meta's current page: handled as unknown codes of their range"
        ),
        "138000-138999": "calling; this pipeline places no calls",
        "139100 139101 139102 139103": "block list endpoint; not called here",
        "147001 147002 147003 147004 147005": "usernames of the business; not called here",
        "2388019 2388039 2388040 2388047 2388072 2388073 2388293 2388299": "template creation; not on a send",
    }
)
"""Published codes (numbers or ranges, spaced) that have no row, each with the reason."""

_PERMISSION = CodeRow(
    200,
    Disposition.HALT,
    "permission not granted, or removed",
    "Meta, error codes",
    "number",
    None,
    "cloud",
)


def code_row(code: int) -> CodeRow | None:
    """Row of a code, None if nobody published what it means; 200–299 are permissions as a range (Meta, error codes)."""
    row = CODES.get(code)
    if row is None and 200 <= code <= 299:
        return _PERMISSION._replace(code=code)
    return row


def may_heal(code: int) -> bool:
    """Whether an unpublished code is of the family (13xxxx) whose failures are worth a few more attempts."""
    return 130_000 <= code <= 139_999
