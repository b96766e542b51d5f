"""The contract as others see it: schemas, examples, documents fit the models, and no release breaks the last."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from pydantic import ValidationError as ModelError

from pipeline.cli.schemas import further
from pipeline.clock import parse_rfc3339_ms
from pipeline.records import deadletter, examples, schemas
from pipeline.records.ledger import LedgerRecord
from pipeline.records.outbound import OutboundEvent, outbound_event
from pipeline.records.ready import Ready, parse_ready
from pipeline.records.reasons import REASONS, TYPES, reasons_of
from pipeline.streams.topics import TOPICS
from tests.contract import compatibility

REPOSITORY = Path(__file__).parents[2]
EXPORTED = REPOSITORY / "schemas"
KEPT = Path(__file__).parent / "kept"
CASES = Path(__file__).parent / "examples"


def is_time(text: str) -> bool:
    """Whether a text is a moment; raises ValueError if it is not."""
    return parse_rfc3339_ms(text.upper()) >= 0


FORMATS = FormatChecker(formats=())
FORMATS.checks("date-time", raises=ValueError)(lambda value: not isinstance(value, str) or is_time(value))


def validator(record: str) -> Draft202012Validator:
    """A validator for the exported schema of a record."""
    schema = json.loads((EXPORTED / schemas.file_name(record)).read_text())
    return Draft202012Validator(schema, format_checker=FORMATS)


def files_of(quality: str, *folders: Path) -> list[Any]:
    """(record, file) of every example of a quality, named for the test report."""
    return [
        pytest.param(path.parent.name, path, id=f"{path.parent.name}/{path.stem}")
        for folder in folders
        for path in sorted(folder.glob(f"*/{quality}-*.json"))
    ]


def test_schemas_have_not_drifted() -> None:
    """What stands in schemas/ is exactly what the models say: else run `wapipe schemas export`."""
    assert schemas.drift(EXPORTED, further()) == []


@pytest.mark.parametrize("record", schemas.MODELS)
def test_schema_is_json_schema_2020_12(record: str) -> None:
    """Every schema is a valid JSON Schema 2020-12 with an id of its own."""
    schema = schemas.schema_of(record)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == schemas.DIALECT
    assert schema["$id"] == f"urn:wapipe:{record}:1"


@pytest.mark.parametrize("record", schemas.MODELS)
def test_every_record_has_examples_of_both_kinds(record: str) -> None:
    """Each record shows at least one valid and one invalid example."""
    assert examples.VALID[record]
    assert examples.INVALID[record]


@pytest.mark.parametrize(("record", "path"), files_of("valid", EXPORTED / "examples", CASES))
def test_valid_example_is_taken(record: str, path: Path) -> None:
    """Schema and model both take every valid example."""
    value = json.loads(path.read_text())
    validator(record).validate(value)
    schemas.MODELS[record].validate_python(value, by_alias=True, by_name=False)


@pytest.mark.parametrize(("record", "path"), files_of("invalid", EXPORTED / "examples", CASES))
def test_invalid_example_is_refused(record: str, path: Path) -> None:
    """Schema and model both refuse every invalid example."""
    value = json.loads(path.read_text())
    with pytest.raises(ValidationError):
        validator(record).validate(value)
    with pytest.raises(ModelError):
        schemas.MODELS[record].validate_python(value, by_alias=True, by_name=False)


@pytest.mark.parametrize("record", schemas.MODELS)
def test_unknown_fields_are_ignored(record: str) -> None:
    """A field that a later release adds breaks no reader, neither one with our models nor one with our schemas."""
    for value in examples.VALID[record].values():
        newer = {**value, "added_later": {"x": [1]}}
        validator(record).validate(newer)
        schemas.MODELS[record].validate_python(newer)


@pytest.mark.parametrize("record", ["outbound-event", "ready", "ledger"])
def test_builders_write_every_field(record: str) -> None:
    """What our code writes has every field of its schema, null if there is nothing to say."""
    fields = set(schemas.schema_of(record)["properties"])
    for name, value in examples.VALID[record].items():
        assert set(value) == fields, name


@pytest.mark.parametrize("kind", TYPES)
def test_built_events_fit_schema_and_model(kind: str) -> None:
    """Every type of event with each of its reasons, as `outbound_event` builds it, is what the schema asks for."""
    request = examples.VALID["request"]["template"]
    source = {"topic": "outbound-requests", "partition": 0, "offset": 1}
    for reason in reasons_of(kind) or (None,):
        event = outbound_event(kind, request, source, at_ms=1_795_341_600_000, stage="gate", reason=reason)
        validator("outbound-event").validate(event)
        assert OutboundEvent.model_validate(event).type == kind


def test_event_of_a_bad_request_fits_the_schema() -> None:
    """An event about a request full of nonsense holds none of it, and is valid itself."""
    request = {
        "request_id": "r", "from": "1", "to": "15550109999", "category": 7, "purpose": [], "priority": {},
        "campaign": True, "metadata": {"kept": "text", "dropped": {"x": 1}}, "message": None,
    }  # fmt: skip
    source = {"topic": "outbound-requests", "partition": 0, "offset": 1}
    event = outbound_event("rejected", request, source, at_ms=0, stage="gate", reason="invalid", detail="x" * 9000)
    validator("outbound-event").validate(event)
    assert event["metadata"] == {"kept": "text"}
    assert event["category"] is None
    assert outbound_event("rejected", {**request, "metadata": ["x"]}, source, at_ms=0, stage="gate")["metadata"] == {}


def test_event_schema_names_the_table_of_reasons() -> None:
    """The enum of reasons is the table, and a reason of another type is refused."""
    schema = schemas.schema_of("outbound-event")
    assert schema["properties"]["reason"]["enum"] == [*REASONS, None]
    assert schema["properties"]["type"]["enum"] == list(TYPES)
    rejected = examples.VALID["outbound-event"]["rejected"]
    for wrong in ({"reason": "throttled"}, {"reason": "of_my_own"}, {"reason": None}, {"terminal": False}):
        with pytest.raises(ValidationError):
            validator("outbound-event").validate({**rejected, **wrong})


@pytest.mark.parametrize("path", sorted((KEPT / "ready").glob("*.json")), ids=lambda path: path.stem)
def test_ready_records_of_older_releases_are_read(path: Path) -> None:
    """A ready record that an older release wrote is read by schema, model and the sender's own parser."""
    value = json.loads(path.read_text())
    validator("ready").validate(value)
    Ready.model_validate(value)
    message = parse_ready(value)
    assert message.request_id == "order-4711-shipped"
    assert message.source == ("outbound-requests", 3, 991)


@pytest.mark.parametrize("path", sorted((KEPT / "ledger").glob("*.json")), ids=lambda path: path.stem)
def test_ledger_records_of_older_releases_are_read(path: Path) -> None:
    """A ledger record that an older release wrote is read by schema and model; a settled one carries its event."""
    value = json.loads(path.read_text())
    validator("ledger").validate(value)
    record = LedgerRecord.model_validate(value)
    assert path.stem.startswith(record.kind)
    if record.kind == "settled":
        validator("outbound-event").validate(record.event)


@pytest.mark.parametrize("record", ["ready", "ledger"])
def test_kept_records_have_every_kind(record: str) -> None:
    """Files of an older release exist for each kind, so that the tests above say something."""
    kinds = {"ready": {"fresh", "copy"}, "ledger": {"opened", "attempt", "void", "returned", "settled"}}[record]
    assert kinds <= {path.stem.split("-")[0] for path in (KEPT / record).glob("*.json")}


def test_channels_are_the_topics() -> None:
    """The AsyncAPI document describes every topic of the table, and no other."""
    assert set(schemas.CHANNELS) == {topic.name for topic in TOPICS}


def references(value: Any) -> list[str]:
    """Every `$ref` in a document."""
    if isinstance(value, dict):
        here = [value["$ref"]] if "$ref" in value else []
        return here + [ref for item in value.values() for ref in references(item)]
    return [ref for item in value for ref in references(item)] if isinstance(value, list) else []


def test_async_api_references_lead_somewhere() -> None:
    """Each reference of the AsyncAPI document names a part of it or a schema file that is exported."""
    document = json.loads((EXPORTED / schemas.DOCUMENT).read_text())
    assert document["asyncapi"].startswith("3.")
    found = references(document)
    assert found
    for reference in found:
        if reference.startswith("./"):
            assert (EXPORTED / reference[2:]).is_file(), reference
        else:
            part: Any = document
            for step in reference.removeprefix("#/").split("/"):
                part = part[step]


def test_async_api_lists_dead_letter_headers() -> None:
    """The headers of a dead letter stand in the document, with the codes of the contract."""
    headers = schemas.async_api()["components"]["messages"]["dead-letter"]["headers"]
    written = deadletter.dead_letter_headers(
        topic="t", partition=0, offset=1, stage="gate", code="not_json", message="", attempts=0, timestamp_ms=0,
        original=None,
    )  # fmt: skip
    assert [name for name, _ in written] == headers["required"]
    assert headers["properties"]["errors.code"]["enum"] == list(deadletter.CODES)


def test_export_is_stable(tmp_path: Path) -> None:
    """Two exports are equal byte for byte and end with a newline; a changed, missing or foreign file is named."""
    first = {path: path.read_bytes() for path in schemas.export(tmp_path)}
    assert {path: path.read_bytes() for path in schemas.export(tmp_path)} == first
    assert all(text.endswith(b"}\n") for text in first.values())
    assert schemas.drift(tmp_path) == []
    (tmp_path / "request-1.json").write_text("{}")
    (tmp_path / "alias-1.json").unlink()
    (tmp_path / "other.json").write_text("{}")
    assert schemas.drift(tmp_path) == [
        "alias-1.json: is missing",
        "request-1.json: is not what the models say",
        "other.json: is no part of the contract",
    ]
    assert len(schemas.drift(tmp_path / "nowhere")) == len(first)


def test_no_release_breaks_the_last() -> None:
    """Nothing that the locked contract promised is gone, renamed, retyped, narrowed or newly required."""
    locked = json.loads(compatibility.LOCK.read_text())
    assert compatibility.breaks(locked, compatibility.promises()) == []


def test_every_field_is_locked() -> None:
    """A new field is promised from now on: run `python -m tests.contract.compatibility` to write it down."""
    assert json.loads(compatibility.LOCK.read_text()) == compatibility.promises()


Edit = Callable[[dict[str, dict[str, Any]]], object]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        pytest.param(lambda now: now.pop("alias"), "alias: the record is gone", id="record removed"),
        pytest.param(lambda now: now["request"].pop(".to"), "request.to: is gone", id="field removed"),
        pytest.param(
            lambda now: now["request"].__setitem__(".recipient", now["request"].pop(".to")),
            "request.to: is gone",
            id="field renamed",
        ),
        pytest.param(
            lambda now: now["request"][".to"].update(types=["integer"]),
            "request.to: is no longer of type string",
            id="field retyped",
        ),
        pytest.param(
            lambda now: now["request"].__setitem__(".tenant", {"types": ["string"], "required": True}),
            "request.tenant: is new and required, which older writers do not know",
            id="required field added",
        ),
        pytest.param(
            lambda now: now["request"][".purpose"].update(required=True),
            "request.purpose: is required now",
            id="field made required",
        ),
        pytest.param(
            lambda now: now["request"][".category"].update(values=["utility"]),
            "request.category: no longer takes authentication, marketing, service",
            id="value removed",
        ),
        pytest.param(
            lambda now: now["request"][".from"].update(values=["1"]),
            "request.from: takes only some values now",
            id="values limited",
        ),
        pytest.param(
            lambda now: now["request"][".request_id"].update(maxLength=64),
            "request.request_id: maxLength went down",
            id="bound narrowed",
        ),
        pytest.param(
            lambda now: now["request"][".request_id"].update(minLength=5),
            "request.request_id: minLength went up",
            id="lower bound raised",
        ),
        pytest.param(
            lambda now: now["request"][".purpose"].update(pattern="^x$"),
            "request.purpose: has another pattern",
            id="pattern changed",
        ),
        pytest.param(
            lambda now: now["outbound-event"][".event_id"].update(types=["null", "string"]),
            "outbound-event.event_id: may be of type null now",
            id="output made nullable",
        ),
        pytest.param(
            lambda now: now["outbound-event"][".event_id"].update(required=False),
            "outbound-event.event_id: is no longer always there",
            id="output made optional",
        ),
    ],
)
def test_a_break_is_noticed(edit: Edit, said: str) -> None:
    """Each way to break the contract is named, with record and field."""
    now = compatibility.promises()
    edit(now)
    assert said in compatibility.breaks(compatibility.promises(), now)


def test_additions_are_no_break() -> None:
    """An optional field, a further value, a wider bound and a new kind of account state break nobody."""
    now = copy.deepcopy(compatibility.promises())
    now["request"][".tenant"] = {"types": ["string"], "required": False}
    now["request"][".category"]["values"].append("other")
    now["request"][".request_id"]["maxLength"] = 256
    now["account-state"]["<PauseState>.paused"] = {"types": ["boolean"], "required": True}
    assert compatibility.breaks(compatibility.promises(), now) == []
