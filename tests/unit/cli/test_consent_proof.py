"""What a message rested on, what opt-in methods lead to, and how a file's columns are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson
import pytest

from pipeline.cli.consent_columns import columns_of
from pipeline.cli.consent_file import Rows
from pipeline.cli.consent_proof import proof_of
from pipeline.cli.consent_tally import MAX_ROWS, OTHER, Tally
from pipeline.operations.consent import UpdateRules

RULES = UpdateRules(None, needs_text=False, now_ms=1_795_341_600_000)
DAYS = ("2026-11-20T08:00:00.000Z", "2026-11-21T08:00:00.000Z", "2026-11-22T08:00:00.000Z")


def event(update_id: str, recorded_at: str, **fields: Any) -> dict[str, Any]:
    """A consent-event."""
    evidence = {"method": "qr", "source": "poster", "text": "Yes"}
    base = {"event_id": update_id, "update_id": update_id, "action": "grant", "result": "applied", "before": [],
            "after": [{"update_id": update_id}], "evidence": evidence}  # fmt: skip
    return {**base, "recorded_at": recorded_at, "origin": {"offset": 0}, **fields}


DECISION = {"type": "queued", "at": DAYS[1], "consent": {"update_id": "u-2", "at": DAYS[1]}}


def test_proof_finds_the_evidence_and_later_changes_only() -> None:
    """The update that the decision names is shown with its evidence; older and refused ones are no later change."""
    events = [event("u-1", DAYS[0]), event("u-2", DAYS[1]), event("u-3", DAYS[2], action="revoke"),
              event("u-4", DAYS[2], result="refused")]  # fmt: skip
    found = proof_of([{"request_id": "r"}], [DECISION], events)
    assert found.rested_on == events[1]
    assert found.later == [events[2]]
    assert found.missing == []


def test_a_change_copied_to_another_id_is_one_change() -> None:
    """An opt-out said under another id is told once; of a copy whose original is gone, the copy."""
    stop = event("u-3", DAYS[2], action="revoke", recipient="US.1")
    of_basis, of_stop, of_gone = (
        event(f"alias-{one}", DAYS[2], action="revoke", evidence={"reference": one}) for one in ("u-2", "u-3", "u-0")
    )
    found = proof_of([{"request_id": "r"}], [DECISION], [event("u-2", DAYS[1]), of_basis, stop, of_stop, of_gone])
    assert found.later == [stop, of_gone]


def test_proof_says_what_is_missing() -> None:
    """A request, a decision or an evidence that is gone is named, and changes after it are shown all the same."""
    found = proof_of([], [DECISION], [event("u-3", DAYS[2])])
    assert [entry["update_id"] for entry in found.later] == ["u-3"]
    assert ["request" in found.missing[0], "u-2" in found.missing[1]] == [True, True]
    assert "no decision is on" in proof_of([{"to": "1"}], [], []).missing[0]
    assert "names a consent" in proof_of([{}], [{**DECISION, "consent": None}], []).missing[0]


def test_tally_counts_by_the_opt_in_that_was_lost() -> None:
    """An opt-out counts for the grant it took, an undelivered for the consent it was sent on, in either order."""
    tally = Tally()
    tally.consent(event("g", DAYS[0]))
    tally.consent(event("g", DAYS[0], event_id="g2", before=[{"update_id": "g"}], after=[{"update_id": "g"}]))
    lost = {"status": "granted", "method": "qr", "source": "poster", "update_id": "g"}
    revoke = event("r", DAYS[1], action="revoke", before=[lost], evidence=None)
    tally.consent(revoke)
    tally.consent({**revoke, "event_id": "r2", "before": [lost, {"status": "revoked", "update_id": "r"}]})
    tally.outbound({"type": "undelivered", "message_id": "m"})
    tally.outbound({"type": "undelivered", "message_id": "gone"})
    tally.outbound({"type": "accepted", "message_id": "m", "consent": {"method": "qr", "source": "poster"}})
    assert tally.rows() == [{
        "method": "qr", "source": "poster", "grants": 1, "opt_outs": 1, "accepted": 1, "undelivered": 1,
        "opt_out_rate": 1.0, "undelivered_rate": 1.0,
    }]  # fmt: skip
    assert tally.unmatched == 1


def test_tally_is_bounded() -> None:
    """Beyond `MAX_ROWS` sources the others are counted together."""
    tally = Tally()
    for n in range(MAX_ROWS + 5):
        tally.consent(event(f"u{n}", DAYS[0], evidence={"method": "qr", "source": f"s{n}"}))
    assert [row["grants"] for row in tally.rows() if row["source"] == OTHER] == [5]


@pytest.mark.parametrize("name", ["people.csv", "people.jsonl"])
def test_columns_are_mapped_and_filled(tmp_path: Path, name: str) -> None:
    """A file with names of its own, a BOM and CRLF is read; what it lacks comes from the defaults."""
    file = tmp_path / name
    cells = {"Phone": "+15550109999", "at": "2026-11-20T08:00:00Z", "text": 'Yes, "please"', "x": "1"}
    text = 'Phone,at,text,x\r\n+15550109999,2026-11-20T08:00:00Z,"Yes, ""please""",1\r\n'
    file.write_bytes(b"\xef\xbb\xbf" + (text.encode() if name.endswith("csv") else orjson.dumps(cells) + b"\r\n"))
    defaults = ("business=acme", "categories=utility", "method=qr", "source=poster")
    rows = Rows(file, RULES, lambda _done, _all: None, columns_of(("recipient=Phone",), defaults, ignores_unknown=True))
    (good,) = rows
    assert rows.refused == []
    update = orjson.loads(good.raw)
    assert (update["recipient"], update["business"], update["categories"]) == ("15550109999", "acme", ["utility"])
    assert update["evidence"]["text"] == 'Yes, "please"'


@pytest.mark.parametrize("mapped", [("phone",), ("nothing=phone",), ("at=x", "at=y"), ("at=x", "text=x"), ("at=",)])
def test_wrong_mapping_is_a_usage_error(mapped: tuple[str, ...]) -> None:
    """A mapping that cannot be meant is named before the file is read."""
    with pytest.raises(click.UsageError, match="--map"):
        columns_of(mapped, (), ignores_unknown=False)
