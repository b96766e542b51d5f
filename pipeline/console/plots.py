"""Plots as SVG text, drawn on the server. Pure; colours come from the style sheet by class, so both themes fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from markupsafe import Markup, escape

WIDTH, HEIGHT = 600, 120
_MARGIN: Final = 4


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


def stages_plot(counts: Mapping[str, Sequence[int]], title: str) -> Markup:
    """Messages that reached each stage, step by step, a line for each.

    Args:
        counts: By name, which is also its class; all of one length, at least one.
    """
    top = max(1, *(max(row) for row in counts.values()))
    drawn = []
    for name, row in counts.items():
        step = WIDTH / max(1, len(row) - 1)
        at = [(index * step, HEIGHT - value / top * (HEIGHT - _MARGIN)) for index, value in enumerate(row)]
        if len(at) == 1:  # one step only is a level, not a point that nobody sees
            at.append((WIDTH, at[0][1]))
        path = " L".join(f"{x:.1f},{y:.1f}" for x, y in at)
        drawn.append(f'<path class="line {escape(name)}" d="M{path}"/>')
    return _svg(title, "".join(drawn))


def _svg(title: str, inside: str) -> Markup:
    # `inside` holds numbers and names of ours only.
    return Markup(  # noqa: S704
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(title)}">{inside}</svg>'
    )
