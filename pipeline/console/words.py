"""Values in words for the pages: times, durations, numbers, people. Pure; Jinja filters."""

from __future__ import annotations

from typing import Final

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.logs import masked

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def moment(at_ms: int | None) -> str:
    """`2026-11-22 10:00:00`, UTC."""
    return "–" if at_ms is None else rfc3339(at_ms)[:19].replace("T", " ")


def clock(at_ms: int) -> str:
    """`10:00:00.123`, UTC."""
    return rfc3339(at_ms)[11:-1]


def written(text: str | None) -> str:
    """A time of a record as `moment` writes it; what is none stays as it is."""
    try:
        return moment(parse_rfc3339_ms(str(text)))
    except ValueError:
        return "–" if text is None else str(text)


def duration(seconds: float | None) -> str:
    """The two largest units: `2 h 5 min`."""
    if seconds is None:
        return "never"
    left, parts = max(0, round(seconds)), []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def ago(at_ms: int, now_ms: int) -> str:
    """`12 s ago`."""
    return f"{duration((now_ms - at_ms) / 1000)} ago"


def count(value: float | None) -> str:
    """`1,234`; at most one decimal."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def share(part: int, whole: int) -> str:
    """`12.5 %`."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def size(count_bytes: int) -> str:
    """`1.2 kB`."""
    return f"{count_bytes} B" if count_bytes < 1000 else f"{count_bytes / 1000:,.1f} kB"


def hidden(recipient: str | None) -> str:
    """A person's number without its middle."""
    return masked(recipient) or "–"


FILTERS: Final = {
    "moment": moment, "clock": clock, "written": written, "duration": duration, "ago": ago, "count": count,
    "share": share, "size": size, "hidden": hidden,
}  # fmt: skip
