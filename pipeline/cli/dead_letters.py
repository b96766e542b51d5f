"""`wapipe dead-letters list | show | replay | discard`: records that nobody could process, and what becomes of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from pipeline.cli.app import DURATION, shell_user, with_settings
from pipeline.cli.output import Cell, SlowProgress, clean, clock_time, json_document, line, note, table
from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.operations.dead_letters import Letter, Verb, Wanted, obstacle, place_of, replayed
from pipeline.operations.reading import Reader, open_reader
from pipeline.operations.replaying import Found, Planned, carry_out, find, look_up, plan, told
from pipeline.records.deadletter import CODES, STAGES

MONTH_MS: Final = 30 * 86_400_000
SHOWN_BYTES_MAX: Final = 64 * 1024
HEX_WIDTH: Final = 16
_UP_TO: Final = 0x7F


@click.group("dead-letters")
def dead_letters() -> None:
    """List, inspect, replay and discard records that could not be processed."""


def _filters(command: Callable[..., int]) -> Callable[..., int]:
    """Options that choose letters, in the order of --help."""
    options = (
        click.option("--stage", type=click.Choice(STAGES), help="Only those that this role gave up."),
        click.option("--code", type=click.Choice(CODES), help="Only those with this code."),
        click.option("--number", metavar="NUMBER", help="Only those of this sending number."),
        click.option("--request-id", metavar="ID", help="Only those of this request."),
        click.option("--since", "since_ms", type=DURATION, default=MONTH_MS, show_default="30d",
                     help="How far to look back."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _acting(command: Callable[..., int]) -> Callable[..., int]:
    """Options of what changes something."""
    options = (
        click.argument("letters", metavar="[ID]...", nargs=-1),
        click.option("--again", is_flag=True, help="Also those that were replayed or discarded before."),
        click.option("--reason", metavar="TEXT", help="Why; kept in audit-events. Needed with --yes."),
        click.option("--yes", is_flag=True, help="Do it. Without this it is only shown."),
        click.option("--json", "is_json", is_flag=True, help="As JSON."),
    )
    for option in reversed(options):
        command = option(command)
    return _filters(command)


@dead_letters.command("list")
@_filters
@click.option("--all", "has_handled", is_flag=True, help="Also those that were replayed or discarded.")
@click.option("--json", "is_json", is_flag=True, help="As JSON.")
@with_settings
def list_(settings: Settings, has_handled: bool, is_json: bool, since_ms: int, **wanted: Any) -> int:
    """List records that could not be processed and wait for a person, oldest first.

    ID is their place on dead-letter, PARTITION:OFFSET. The bytes are not shown: they may hold anything.

    \b
    Examples:
      wapipe dead-letters list
      wapipe dead-letters list --code outcome_unknown --since 1d
      wapipe dead-letters list --all --json
    """
    with open_reader(settings) as reader:
        found = [one for one in _find(reader, settings, wanted, since_ms) if has_handled or one.handled is None]
    if is_json:
        json_document(list(map(told, found)))
    elif found:
        table(("id", "time (UTC)", "from", "code", "number", "request id", "bytes", "state", "why"), map(_row, found))
    else:
        note("no dead letter waits" if not any(wanted.values()) else "no such dead letter waits")
    return EXIT_DONE


@dead_letters.command()
@click.argument("letter", metavar="ID")
@click.option("--raw", is_flag=True, help="Only its bytes, as they are, on stdout.")
@click.option("--hex", "is_hex", is_flag=True, help="Show the bytes in hexadecimal, although they are text.")
@click.option("--json", "is_json", is_flag=True, help="As JSON, without the bytes.")
@with_settings
def show(settings: Settings, letter: str, raw: bool, is_hex: bool, is_json: bool) -> int:
    """Show one dead letter: where it came from, why it is here, its headers and its bytes.

    \b
    Examples:
      wapipe dead-letters show 3:991
      wapipe dead-letters show 3:991 --raw | jq .
    """
    with open_reader(settings) as reader:
        [found] = look_up(reader, settings, [place_of(letter)])
    if raw:
        sys.stdout.buffer.write(found.letter.value or b"")
        sys.stdout.flush()
    elif is_json:
        json_document({**told(found), "headers": {name: _text(value) for name, value in found.letter.headers}})
    else:
        _show(found, is_hex=is_hex)
    return EXIT_DONE


@dead_letters.command()
@_acting
@click.option("--may-duplicate", is_flag=True, help="Also those of unknown outcome: a person may get them twice.")
@with_settings
def replay(settings: Settings, may_duplicate: bool, **options: Any) -> int:
    """Send dead letters back to where they came from: the same bytes, key and headers.

    Without --yes it shows what would be done. Each goes once: a second replay needs --again. Requests keep their first
    source, so that nothing is sent twice that was sent; one whose outcome nobody knows needs --may-duplicate, and is
    not sent if a status shows by now that it was taken. Exits 65 if one of them stays.

    \b
    Examples:
      wapipe dead-letters replay --code unsupported_schema
      wapipe dead-letters replay 3:991 --yes --reason "consumer is upgraded"
      wapipe dead-letters replay --code outcome_unknown --since 1d --may-duplicate --yes --reason "API was away"
    """
    return _act(settings, "replay", may_duplicate=may_duplicate, **options)


@dead_letters.command()
@_acting
@with_settings
def discard(settings: Settings, **options: Any) -> int:
    """Say that nothing is to become of dead letters: they are not listed any more.

    Without --yes it shows what would be done. Their bytes stay on dead-letter until its retention. Exits 65 if one of
    them was handled before.

    \b
    Examples:
      wapipe dead-letters discard --stage ingress --code bad_webhook
      wapipe dead-letters discard 3:991 --yes --reason "a test of ours"
    """
    return _act(settings, "discard", may_duplicate=False, **options)


def _act(
    settings: Settings,
    verb: Verb,
    *,
    letters: Sequence[str],
    may_duplicate: bool,
    again: bool,
    reason: str | None,
    yes: bool,
    is_json: bool,
    since_ms: int,
    **wanted: Any,
) -> int:
    if not letters and not any(wanted.values()):
        raise click.UsageError("Name dead letters by ID, or choose them by --stage, --code, --number or --request-id.")
    if letters and any(wanted.values()):
        raise click.UsageError("IDs and filters do not go together.")
    if yes and not reason:
        raise click.UsageError("--yes needs --reason TEXT.")
    places = list(map(place_of, letters))
    with open_reader(settings) as reader:
        found = look_up(reader, settings, places) if places else _find(reader, settings, wanted, since_ms)
        # By a filter those that wait are meant; who names a letter is told what became of it.
        found = [one for one in found if places or again or one.handled is None]
        planned = plan(found, verb, may_duplicate=may_duplicate, again=again)
        if yes:
            planned = carry_out(
                reader, settings, shell_user(), verb, planned, str(reason), may_duplicate=may_duplicate, again=again
            )
    _report(verb, planned, is_done=yes, is_json=is_json)
    return EXIT_NEGATIVE if not planned or any(one.obstacle for one in planned) else EXIT_DONE


def _find(reader: Reader, settings: Settings, wanted: dict[str, Any], since_ms: int) -> list[Found]:
    with SlowProgress("reading dead letters") as progress:
        return find(reader, settings, Wanted(**wanted), max(0, unix_ms() - since_ms), advance=progress.update)


def _report(verb: Verb, planned: Sequence[Planned], *, is_done: bool, is_json: bool) -> None:
    if is_json:
        json_document({"done": is_done, "letters": [_planned(verb, one) for one in planned]})
        return
    if not planned:
        note("no such dead letter waits; `wapipe dead-letters list --all` shows the others, too", "wait")
        return
    going = sum(one.obstacle is None for one in planned)
    if going < len(planned) or not is_done:
        table(("id", "code", "request id", verb, "why not"), (_planned_row(verb, one, is_done) for one in planned))
    word = ("replayed" if verb == "replay" else "discarded", "good") if is_done else (f"would be {verb}ed", "wait")
    line(str(going), word, f"of {len(planned)}")
    if not is_done and going:
        note(f'nothing is done yet: repeat it with --yes --reason "…" to {verb} them')


def _planned(verb: Verb, one: Planned) -> dict[str, Any]:
    goes = one.obstacle is None
    return {
        "id": str(one.letter.place),
        "code": one.letter.code,
        "request_id": one.letter.request_id,
        "to": replayed(one.letter).topic if goes and verb == "replay" else None,
        "obstacle": one.obstacle,
    }


def _planned_row(verb: Verb, one: Planned, is_done: bool) -> tuple[Cell, ...]:
    if one.obstacle is not None:
        what: Cell = ("stays", "wait")
    else:
        where = f" to {one.letter.topic}" if verb == "replay" else ""
        what = (f"{'done' if is_done else 'would go' if verb == 'replay' else 'would go away'}{where}", "good")
    return str(one.letter.place), one.letter.code, clean(one.letter.request_id), what, one.obstacle or ""


def _row(found: Found) -> tuple[Cell, ...]:
    letter, handled = found
    state: Cell = ("waits", "wait")
    if handled is not None:
        state = (f"{'replayed' if handled.action == 'replay' else 'discarded'} by {handled.actor}", "dim")
    return (
        str(letter.place),
        (clock_time(letter.at_ms), "dim"),
        letter.topic or "webhook",
        letter.code,
        clean(letter.number),
        clean(letter.request_id),
        str(len(letter.value or b"")),
        state,
        letter.message,
    )


def _show(found: Found, *, is_hex: bool) -> None:
    letter, handled = found
    came = f"{letter.topic}[{letter.source[0]}]@{letter.source[1]}" if letter.source is not None else "a webhook"
    why_not = obstacle(letter, may_duplicate=True)
    rows: list[tuple[Cell, Cell]] = [
        ("came from", came),
        ("given up", f"{rfc3339(letter.gave_up_ms)} by the {letter.stage}, after {letter.attempts} attempts"),
        ("code", (letter.code, "bad")),
        ("why", letter.message),
        ("request id", clean(letter.request_id)),
        ("number", clean(letter.number)),
        ("recipient", clean(letter.recipient)),
        ("replay", ("possible", "good") if why_not is None else (why_not, "wait")),
    ]
    if handled is not None:
        rows.append(("handled", f"{handled.action} {handled.at} by {handled.actor}: {handled.reason}"))
    rows.append(("key", _text(letter.key)))
    rows += [(f"header {name}", _text(value)) for name, value in letter.headers]
    for name, value in rows:
        line((f"{name if isinstance(name, str) else name[0]:<24}", "dim"), value)
    _show_bytes(letter, is_hex=is_hex)


def _show_bytes(letter: Letter, *, is_hex: bool) -> None:
    value = letter.value or b""
    shown = value[:SHOWN_BYTES_MAX]
    line((f"{len(value)} bytes", "dim"))
    text = _text(shown)
    if is_hex or "\\x" in text:
        for at in range(0, len(shown), HEX_WIDTH):
            piece = shown[at : at + HEX_WIDTH]
            readable = "".join(chr(byte) if 0x20 <= byte < _UP_TO else "." for byte in piece)
            line((f"{at:08x}", "dim"), f"{piece.hex(' '):<{3 * HEX_WIDTH}}", (readable, "dim"))
    else:
        for one in text.splitlines():
            line(one)
    if len(shown) < len(value):
        note(f"… and {len(value) - len(shown)} bytes more; --raw gives all of them")


def _text(value: bytes | None) -> str:
    """Bytes as text where they are text; what is none is escaped."""
    return "-" if value is None else value.decode(errors="backslashreplace")
