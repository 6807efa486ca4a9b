"""Plots as SVG elements: accuracy against latency, and bars with deviations."""

import math
from typing import NamedTuple
from xml.etree.ElementTree import Element

from benchmarks.report.elements import element

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d31"]
WIDTH, HEIGHT = 500, 340
LEFT, RIGHT, TOP, BOTTOM = 60, 482, 14, 292  # the scatter's frame, in pixels
LABEL_GAP = 14  # between the base lines of two labels
NAME, BAR, VALUE = 118, 370, 378  # the bars' columns: names end, bars end, values start


class Point(NamedTuple):
    """A model in the plot: ``x`` is NaN where it has no latency, and it becomes a line."""

    name: str
    colour: str
    x: float
    y: float


class Bar(NamedTuple):
    """A mean with its deviation, NaN with one seed."""

    name: str
    colour: str
    mean: float
    deviation: float


def colours(models: list[str]) -> dict[str, str]:
    """Return a colour for every model, the same in all plots."""
    return {model: COLOURS[i % len(COLOURS)] for i, model in enumerate(models)}


def scatter(points: list[Point], x_label: str, y_label: str) -> Element:
    """Plot points over a logarithmic x; labels are moved apart."""
    xs, ys = [point.x for point in points if point.x > 0], [point.y for point in points]
    x_low, x_high = min(xs) / 2, max(xs) * 2
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if max(ys) - min(ys) <= 5 * step or step == 0.2)
    y_low, y_high = step * math.floor(min(ys) / step - 0.3), step * math.ceil(max(ys) / step + 0.3)

    def across(x: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(x / x_low) / math.log(x_high / x_low)

    def down(y: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (y - y_low) / (y_high - y_low)

    lines = [
        draw_tick(f"{x:g}", (across(x), TOP, across(x), BOTTOM), (across(x), BOTTOM + 16), "middle")
        for x in _round_numbers(x_low, x_high)
    ]
    for i in range(round((y_high - y_low) / step) + 1):
        y = y_low + i * step
        lines.append(draw_tick(f"{y:.2f}", (LEFT, down(y), RIGHT, down(y)), (LEFT - 7, down(y) + 4), "end"))
    heights = spread([down(point.y) for point in points])
    marks = [
        _mark(point, across(point.x) if point.x > 0 else None, down(point.y), at)
        for point, at in zip(points, heights, strict=True)
    ]
    titles = draw_titles(x_label, y_label, RIGHT)
    return draw_svg(HEIGHT, f"{y_label} against {x_label}", [*lines, *marks, *titles])


def spread(heights: list[float]) -> list[float]:
    """Move heights of labels down until each is `LABEL_GAP` from the next, all up where they leave the frame."""
    placed, last = [0.0] * len(heights), -math.inf
    for i in sorted(range(len(heights)), key=heights.__getitem__):
        placed[i] = last = max(heights[i], last + LABEL_GAP)
    return [height - max(0.0, last - BOTTOM + 4) for height in placed]


def bars(groups: dict[str, list[Bar]], label: str) -> Element:
    """Plot bars of 0..1 in named groups, with whiskers of one deviation."""
    parts: list[Element] = []
    top = 4
    for name, group in groups.items():
        parts.append(draw_text(_short(name, 60), 0, top + 13, "start", full=name, class_="group"))
        parts += [_bar(bar, top + 18 + 16 * i) for i, bar in enumerate(group)]
        top += 30 + 16 * len(group)
    ticks = [
        draw_tick(f"{x:g}", (_along(x), 20, _along(x), top), (_along(x), top + 15), "middle")
        for x in (0, 0.25, 0.5, 0.75, 1)
    ]
    return draw_svg(top + 22, label, ticks + parts)


def _bar(bar: Bar, top: float) -> Element:
    parts = [draw_text(_short(bar.name, 18), NAME - 7, top + 11, "end", full=bar.name)]
    if math.isnan(bar.mean):
        return element("g", *parts, draw_text("-", VALUE, top + 11, "start"))
    size = {"x": NAME, "y": top + 1, "width": f"{_along(bar.mean) - NAME:.1f}", "height": 12}
    parts.append(element("rect", fill=bar.colour, **size))
    value = f"{bar.mean:.3f}"
    if not math.isnan(bar.deviation):
        ends = _along(max(0, bar.mean - bar.deviation)), _along(min(1, bar.mean + bar.deviation))
        parts.append(draw_line(ends[0], top + 7, ends[1], top + 7, class_="whisker"))
        parts += [draw_line(end, top + 4, end, top + 10, class_="whisker") for end in ends]
        value += f" ± {bar.deviation:.3f}"
    return element("g", *parts, draw_text(value, VALUE, top + 11, "start"))


def _along(share: float) -> float:
    return NAME + (BAR - NAME) * share


def _mark(point: Point, x: float | None, y: float, label_y: float) -> Element:
    name = _short(point.name, 28)
    if x is None:
        line = draw_line(LEFT, y, RIGHT, y, stroke=point.colour, stroke_width=1.5, stroke_dasharray="5 4")
        return element("g", line, draw_text(name, LEFT + 5, label_y - 4, "start", full=point.name, fill=point.colour))
    dot = element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=6, fill=point.colour)
    after = x < (LEFT + RIGHT) / 2
    at = (x + 10, "start") if after else (x - 10, "end")
    return element("g", dot, draw_text(name, at[0], label_y + 4, at[1], full=point.name, fill=point.colour))


def _round_numbers(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10 and so on within bounds; where these are few, all of one digit."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if high > 10 * low else range(1, 10)
    return [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def draw_tick(name: str, line: tuple[float, float, float, float], at: tuple[float, float], anchor: str) -> Element:
    """Return a line of the grid and its number."""
    return element("g", draw_line(*line, class_="grid"), draw_text(name, *at, anchor, class_="tick"))


def draw_titles(x_label: str, y_label: str, right: float) -> list[Element]:
    """Return the titles of both axes of a frame that ends at the right, in pixels."""
    return [
        draw_text(x_label, (LEFT + right) / 2, HEIGHT - 10, "middle"),
        draw_text(y_label, 0, 0, "middle", transform=f"translate(13 {(TOP + BOTTOM) / 2}) rotate(-90)"),
    ]


def draw_line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Element:
    """Return a line between two points."""
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return element("line", **ends, **attributes)


def draw_text(text: str, x: float, y: float, anchor: str, full: str = "", **attributes: object) -> Element:
    """Return a text; ``full`` is what pointing at it shows."""
    title = [element("title", full)] if full and full != text else []
    return element("text", text, *title, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, **attributes)


def draw_svg(height: float, label: str, children: list[Element]) -> Element:
    """Return a plot of its parts; the label is what it is called where it is not seen."""
    return element(
        "svg", *children, viewBox=f"0 0 {WIDTH} {height}", width=WIDTH, height=height, role="img", aria_label=label
    )
