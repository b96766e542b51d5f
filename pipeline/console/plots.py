"""Plots as SVG text, drawn on the server. Pure; colours come from the style sheet by class, so both themes fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 600, 120
_MARGIN: Final = 4
MAX_POINTS: Final = 300


def rate_plot(sent: Sequence[int], refused: Sequence[int], limit: float, title: str) -> Markup:
    """Requests per second as an area, refusals as bars on it, the limit as a line across.

    Args:
        sent: Requests in each second, oldest first, the last one now; of them `refused`.
        limit: Per second.
        title: For those who cannot see it.
    """
    top = max(limit * 1.25, *sent, 1)
    step = WIDTH / max(1, len(sent) - 1)

    def y(value: float) -> float:
        return HEIGHT - value / top * (HEIGHT - _MARGIN)

    points = [f"{index * step:.1f},{y(value):.1f}" for index, value in enumerate(sent)]
    area = f"M0,{HEIGHT} L{' L'.join(points)} L{WIDTH},{HEIGHT} Z" if points else ""
    line = f"M{' L'.join(points)}" if points else ""
    bars = " ".join(f"M{index * step:.1f},{HEIGHT} V{y(count):.1f}" for index, count in enumerate(refused) if count)
    limit_y = y(limit)
    return _svg(
        title,
        f'<path class="area" d="{area}"/><path class="line" d="{line}"/><path class="refused" d="{bars}"/>'
        f'<line class="limit" x1="0" x2="{WIDTH}" y1="{limit_y:.1f}" y2="{limit_y:.1f}"/>',
    )


class Stages(NamedTuple):
    """A plot of stages with what its edges mean.

    Attributes:
        top: Messages per point at its upper edge.
        minutes: Minutes per point.
        first: Minute (since 1970) at its left edge; `last` at its right one.
    """

    svg: Markup
    top: int
    minutes: int
    first: int
    last: int


def stages_plot(stages: Mapping[str, Mapping[int, int]], title: str) -> Stages | None:
    """Messages per minute that reached each stage, a line for each; None: none has.

    Args:
        stages: By name, which is also its class; count by minute.
    """
    all_minutes = [minute for counts in stages.values() for minute in counts]
    if not all_minutes:
        return None
    first, last = min(all_minutes), max(all_minutes)
    width = max(1, -(-(last - first + 1) // MAX_POINTS))  # minutes per point, rounded up
    points = (last - first) // width + 1
    rows = {name: [0] * points for name in stages}
    for name, counts in stages.items():
        for minute, count in counts.items():
            rows[name][(minute - first) // width] += count
    top = max(1, *(value for row in rows.values() for value in row))
    step = WIDTH / max(1, points - 1)
    drawn = []
    for name, row in rows.items():
        at = [(index * step, HEIGHT - value / top * (HEIGHT - _MARGIN)) for index, value in enumerate(row)]
        if len(at) == 1:  # one minute only is a level, not a point that nobody sees
            at.append((WIDTH, at[0][1]))
        path = " L".join(f"{x:.1f},{y:.1f}" for x, y in at)
        drawn.append(f'<path class="line {escape(name)}" d="M{path}"/>')
    return Stages(_svg(title, "".join(drawn)), top, width, first, last)


def _svg(title: str, inside: str) -> Markup:
    # `inside` holds numbers and names of ours only.
    return Markup(  # noqa: S704
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(title)}">{inside}</svg>'
    )
