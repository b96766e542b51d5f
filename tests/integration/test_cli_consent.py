"""Consent commands on a real broker: what they write, and what they find on its topics."""

from __future__ import annotations

from pathlib import Path

import orjson

from pipeline.config import load
from tests.integration.test_cli import _config, _event, _person, _rows, _run, _write


def test_erase_history_proof_and_report(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """An erase is written with its audit-event; history, proof and report read what topics tell of a person."""
    config = _config(tmp_path, kafka, topic_prefix)
    assert _run(config, "topics", "apply").exit_code == 0
    settings, person = load(config), _person()
    assert _run(config, "consent", "erase", person, "--reason", "case 7", "--wait", "0").exit_code == 130
    assert _rows(settings, "consent-updates") == []
    erased = _run(config, "consent", "erase", person, "--reason", "case 7", "--yes", "--wait", "0")
    assert erased.exit_code == 0, erased.output
    (update,) = [orjson.loads(row.value or b"") for row in _rows(settings, "consent-updates")]
    (told,) = [orjson.loads(row.value or b"") for row in _rows(settings, "audit-events")]
    assert (update["action"], update["business"], told["action"], told["reason"]) == ("erase", "*", "erase", "case 7")
    assert told["target"] == f"recipient:{person}"

    assert _run(config, "consent", "history", person).exit_code == 65
    evidence = {"method": "qr", "source": "poster", "text": "Yes please", "reference": "o-1"}
    at = update["at"]
    granted = {"event_id": "e1", "update_id": "u-1", "recipient": person, "action": "grant", "result": "applied",
               "before": [], "after": [{}], "evidence": evidence, "at": at, "recorded_at": at}  # fmt: skip
    _write(settings, "consent-events", person, granted, granted)
    basis = {"update_id": "u-1", "status": "granted", "at": at, "method": "qr", "source": "poster"}
    _write(settings, "outbound-events", person, _event("accepted", "r-1", person, 1, consent=basis, message_id="m"))
    shown = _run(config, "consent", "history", person, "--json")
    assert [event["update_id"] for event in orjson.loads(shown.stdout)["events"]] == ["u-1"]
    proof = _run(config, "consent", "proof", "r-1")
    assert proof.exit_code == 0, proof.output
    assert "Yes please" in proof.stdout
    assert "the request is not on its topic any more" in proof.stderr
    assert _run(config, "consent", "proof", "r-2").exit_code == 65
    (row,) = orjson.loads(_run(config, "consent", "report", "--json").stdout)["rows"]
    assert (row["method"], row["source"], row["grants"], row["accepted"]) == ("qr", "poster", 1, 1)

    user = f"US.{person}"
    alias = {"alias": user, "recipient": person, "kind": "user_id", "at": at}
    _write(settings, "recipient-aliases", user, alias)
    _write(settings, "recipient-aliases", person, {**alias, "alias": person, "kind": "self", "ids": [user]})
    stop = {**granted, "event_id": "e2", "update_id": "u-2", "recipient": user, "action": "revoke",
            "recorded_at": "2999-01-01T00:00:00.000Z"}  # fmt: skip
    _write(settings, "consent-events", user, stop)
    found = orjson.loads(_run(config, "consent", "proof", "r-1", "--since", "1h", "--json").stdout)
    assert [change["update_id"] for change in found["later"]] == ["u-2"]
    assert _run(config, "consent", "proof", "r-1", "--since", "1ms").exit_code == 65
