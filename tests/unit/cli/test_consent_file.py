"""Lines of a consent file become records, or a line number and a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson
import pytest

from pipeline.cli.consent_file import MAX_REFUSED_KEPT, Rows
from pipeline.operations.consent import UpdateRules

NOW_MS = 1_795_341_600_000
RULES = UpdateRules(frozenset({"acme"}), needs_text=False, now_ms=NOW_MS)
HEADER = "recipient,business,categories,purposes,at,expires_at,method,source,text,reference"
GOOD = "+1 555-010-9999,acme,utility;marketing,order-updates,2026-11-20T08:00:00Z,,checkbox,https://x.example,Yes,o-1"


def _rows(
    tmp_path: Path, *lines: str | bytes, name: str = "c.csv"
) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    file = tmp_path / name
    file.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines))
    rows = Rows(file, RULES, lambda _done, _total: None)
    good = [orjson.loads(row.raw) for row in rows]
    return good, [(bad.line, bad.reason) for bad in rows.refused]


def test_csv_line_becomes_a_grant(tmp_path: Path) -> None:
    """A line is a grant by the user's own act, with lists split and every field of the contract written."""
    good, refused = _rows(tmp_path, HEADER, GOOD)
    assert refused == []
    update = good[0]
    assert update.pop("update_id").startswith("import-")
    assert update == {
        "recipient": "15550109999", "business": "acme", "action": "grant", "categories": ["utility", "marketing"],
        "purposes": ["order-updates"], "at": "2026-11-20T08:00:00.000Z", "expires_at": None, "number": None,
        "language": None,
        "evidence": {
            "method": "checkbox", "source": "https://x.example", "text": "Yes", "reference": "o-1", "actor": "user",
        },
    }  # fmt: skip


def test_update_id_depends_on_the_content_alone(tmp_path: Path) -> None:
    """The same line anywhere has the same id; another content has another."""
    other = GOOD.replace("o-1", "o-2")
    good, _ = _rows(tmp_path, HEADER, GOOD, other, GOOD)
    ids = [update["update_id"] for update in good]
    assert ids[0] == ids[2] != ids[1]


def test_csv_and_jsonl_mean_the_same(tmp_path: Path) -> None:
    """A JSON line with the same content is the same update, under the same id; lists may be lists."""
    names = HEADER.split(",")
    line: dict[str, Any] = dict(zip(names, GOOD.split(","), strict=True))
    lists = {**line, "categories": ["utility", "marketing"], "purposes": ["order-updates"], "expires_at": None}
    from_csv, _ = _rows(tmp_path, HEADER, GOOD)
    from_json, refused = _rows(tmp_path, orjson.dumps(line), b"", orjson.dumps(lists), name="c.jsonl")
    assert refused == []
    assert from_json == [from_csv[0], from_csv[0]]


def test_bad_lines_are_named_and_do_not_stop_the_others(tmp_path: Path) -> None:
    """Each bad line has its number in the file and a reason; good lines before and after it are kept."""
    bad: dict[int, tuple[str | bytes, str]] = {
        3: ("abc,acme,utility,,2026-11-20T08:00:00Z,,checkbox,x,,", "recipient"),
        4: ("15550109999,other,utility,,2026-11-20T08:00:00Z,,checkbox,x,,", "unknown_business"),
        5: ("15550109999,acme,spam,,2026-11-20T08:00:00Z,,checkbox,x,,", "categories"),
        6: ("15550109999,acme,*,,2026-11-20T08:00:00Z,,checkbox,x,,", "grant names its categories"),
        7: ("15550109999,acme,utility,,2026-11-20,,checkbox,x,,", "at"),
        8: ("15550109999,acme,utility,,2026-12-20T08:00:00Z,,checkbox,x,,", "at_in_future"),
        9: ("15550109999,acme,utility,,2026-11-20T08:00:00Z,2026-11-19T08:00:00Z,checkbox,x,,", "expires_at"),
        10: ("15550109999,acme,utility,,2026-11-20T08:00:00Z,,telepathy,x,,", "evidence.method"),
        11: ("15550109999,acme,utility,,2026-11-20T08:00:00Z,,,x,,", "method: required"),
        12: ("15550109999,acme,utility", "at: required"),
        13: (GOOD + ",more", "11 columns"),
        14: (b"15550109999,acme,utility,,2026-11-20T08:00:00Z,,checkbox,\xff\xfe,,", "UTF-8"),
        15: ('15550109999,acme,utility,,2026-11-20T08:00:00Z,,checkbox,"x" y,,', "not CSV"),
    }
    good, refused = _rows(tmp_path, HEADER, GOOD, *(line for line, _ in bad.values()), "", ",,", GOOD)
    assert len(good) == 2
    assert [number for number, _ in refused] == list(bad)
    for (_, reason), (_, expected) in zip(refused, bad.values(), strict=True):
        assert expected in reason


def test_bad_json_lines_are_named(tmp_path: Path) -> None:
    """Lines that are no JSON object, or hold unknown fields, are refused by number."""
    good, refused = _rows(tmp_path, b"{", b"[]", b'{"phone": 1}', b"\xff", b'{"recipient": {"a": 1}}', name="c.jsonl")
    assert good == []
    assert [number for number, _ in refused] == [1, 2, 3, 4, 5]
    assert "phone: no such column" in refused[2][1]


def test_quoted_cells_may_span_lines(tmp_path: Path) -> None:
    """A text with line breaks is one line of the file's content; the next one keeps its number."""
    spanning = GOOD.replace(",Yes,", ',"Yes,\nI do",')
    good, refused = _rows(tmp_path, HEADER, spanning, "abc,acme,utility,,2026-11-20T08:00:00Z,,checkbox,x,,")
    assert good[0]["evidence"]["text"] == "Yes,\nI do"
    assert refused[0][0] == 4


def test_spreadsheet_files_are_read(tmp_path: Path) -> None:
    """A byte order mark, CRLF and capitals in the header, as spreadsheets write them, do no harm."""
    good, refused = _rows(tmp_path, b"\xef\xbb\xbf" + HEADER.title().encode() + b"\r", GOOD + "\r")
    assert refused == []
    assert good[0]["evidence"]["reference"] == "o-1"


def test_opt_outs_can_be_imported_without_evidence(tmp_path: Path) -> None:
    """A column `action` with revoke makes an opt-out, which needs neither method nor source; erase is refused."""
    header = "recipient,business,categories,at,method,source,action"
    good, refused = _rows(
        tmp_path, header, "15550109999,acme,*,2026-11-20T08:00:00Z,,,revoke",
        "15550109999,acme,utility,2026-11-20T08:00:00Z,other,x,erase",
    )  # fmt: skip
    assert [(update["action"], update["categories"]) for update in good] == [("revoke", ["*"])]
    assert refused == [(3, "action: grant or revoke")]


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("", "is empty"),
        ("recipient;business;at", "not separated by commas"),
        (HEADER.replace("recipient,", ""), "column recipient is missing"),
        (HEADER.replace("source,", ""), "column source is missing"),
        (HEADER + ",phone", "'phone' is unknown"),
        (HEADER + ",text", "twice"),
    ],
)
def test_wrong_header_is_a_usage_error(tmp_path: Path, header: str, names: str) -> None:
    """A header without a needed column, or with an unknown one, stops the import before the first line."""
    with pytest.raises(click.UsageError, match=names):
        _rows(tmp_path, header, GOOD)


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    """Only .csv and .jsonl are read."""
    with pytest.raises(click.UsageError, match=r"\.csv or a \.jsonl"):
        _rows(tmp_path, HEADER, name="c.xlsx")


def test_refusals_are_kept_up_to_a_limit(tmp_path: Path) -> None:
    """A file of nothing but bad lines cannot fill the memory; all are counted."""
    file = tmp_path / "c.jsonl"
    file.write_bytes(b"{\n" * (MAX_REFUSED_KEPT + 7))
    rows = Rows(file, RULES, lambda _done, _total: None)
    assert list(rows) == []
    assert rows.refused_count == MAX_REFUSED_KEPT + 7
    assert len(rows.refused) == MAX_REFUSED_KEPT


def test_progress_ends_at_the_files_size(tmp_path: Path) -> None:
    """What the bar is told ends at the size of the file."""
    file = tmp_path / "c.csv"
    file.write_text(f"{HEADER}\n{GOOD}\n")
    told: list[tuple[int, int]] = []
    list(Rows(file, RULES, lambda done, total: told.append((done, total))))
    assert told[-1] == (file.stat().st_size, file.stat().st_size)
