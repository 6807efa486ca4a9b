"""Accuracy over the number of normal images, from runs whose models have their own ``normals`` and ``draw``.

``python -m benchmarks.report.few --output F`` prints the table and writes a plot of each measure into the folder.
"""

import argparse
import math
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import Element, tostring

import pandas as pd

from benchmarks.columns import LABELS
from benchmarks.report.cells import Cell, Table
from benchmarks.report.elements import element
from benchmarks.report.plots import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    colours,
    draw_line,
    draw_svg,
    draw_text,
    draw_tick,
    draw_titles,
    spread,
)
from benchmarks.report.results import Results, read_results
from benchmarks.results import write_atomically

PLOTTED: Final = ("image_auroc", "aupro")
NORMALS: Final = "normal images, those held out included"
NOTE: Final = (
    "Mean over the sets that all have run on, and over draws of the images; in brackets, and as a bar, the lowest and "
    "the highest draw."
)
ALONG: Final = ("normals", "draw")  # what differs along a curve
WIDER: Final = 1.15  # the frame goes beyond the first and the last number by this factor
SIDE: Final = RIGHT - 96  # the frame's right side, in pixels; the curves' names follow
STEPS: Final = (0.01, 0.02, 0.05, 0.1, 0.2)


def few_curves(results: Results) -> pd.DataFrame:
    """Return mean, min and max over draws of the mean over sets, indexed by (model, normals).

    Empty where no model of the settings has its own ``normals``. The columns are (measure, statistic). A set that one
    of these models has not run on is left out of all: points of one curve are means over the same sets.
    """
    specs = {name: spec for name, spec in (results.config.get("models") or {}).items() if spec.get("normals")}
    rows = results.rows[results.rows["model"].isin(specs)]
    runs = rows.drop_duplicates(["model", "seed"])
    rows = rows.groupby("set").filter(lambda found: len(found) == len(runs))
    own, names = [specs[name] for name in rows["model"]], curve_names(specs)
    rows = rows.assign(
        model=[names[name] for name in rows["model"]],
        normals=[int(spec["normals"]) for spec in own],
        draw=[spec.get("draw", 0) for spec in own],
    )
    by_draw = rows.groupby(["model", "normals", "draw"])[list(PLOTTED)].mean()
    return by_draw.groupby(["model", "normals"]).agg(["mean", "min", "max"])


def curve_names(specs: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the curve of every row: its first row's name, without normals and draw at its end where that is clear."""
    rest = {name: {key: value for key, value in spec.items() if key not in ALONG} for name, spec in specs.items()}
    firsts = {name: next(first for first in rest if rest[first] == own) for name, own in rest.items()}
    short = {first: without_numbers(first, specs[first]) for first in set(firsts.values())}
    count = Counter(short.values())
    return {name: short[first] if count[short[first]] == 1 else first for name, first in firsts.items()}


def without_numbers(name: str, spec: dict[str, Any]) -> str:
    """Return the name of a row without what differs along its curve."""
    return name.removesuffix(f"_{spec.get('draw', 0)}").removesuffix(f"_{spec['normals']}")


def few_table(curves: pd.DataFrame) -> Table:
    """Return what `few_curves` found as a table."""
    rows = [
        [Cell(model), Cell(str(normals), normals), *(_cell(curves.loc[(model, normals), name]) for name in PLOTTED)]
        for model, normals in curves.index
    ]
    return Table("Few images", ["model", "normal images", *(LABELS[name] for name in PLOTTED)], rows, NOTE)


def few_plots(curves: pd.DataFrame) -> list[Element]:
    """Return a plot of every measure over the number of normal images, a curve a model."""
    palette = colours(list(dict.fromkeys(curves.index.get_level_values("model"))))
    return [plot(curves[measure], LABELS[measure], palette) for measure in PLOTTED]


class Few(NamedTuple):
    """The part of a report on the number of normal images."""

    table: Table
    plots: list[Element]

    @classmethod
    def of(cls, results: Results) -> "Few | None":
        """Return it, ``None`` where no model of the settings has its own ``normals``."""
        curves = few_curves(results)
        return None if curves.empty else cls(few_table(curves), few_plots(curves))


class Frame(NamedTuple):
    """The bounds of a plot: numbers of images, and figures in steps of a round size."""

    counts: list[int]
    low: float
    high: float
    step: float

    @classmethod
    def of(cls, curves: pd.DataFrame) -> "Frame":
        """Return the bounds of curves."""
        low, high = curves["min"].min(), curves["max"].max()
        step = next((step for step in STEPS if high - low <= 5 * step), STEPS[-1])
        counts = sorted(set(curves.index.get_level_values("normals")))
        return cls(counts, step * math.floor(low / step), step * (math.floor(high / step) + 1), step)

    def across(self, count: float) -> float:
        """Return the x of a number of images, in pixels."""
        first, last = self.counts[0] / WIDER, self.counts[-1] * WIDER
        return LEFT + (SIDE - LEFT) * math.log(count / first) / math.log(last / first)

    def down(self, value: float) -> float:
        """Return the y of a figure, in pixels."""
        return BOTTOM - (BOTTOM - TOP) * (value - self.low) / (self.high - self.low)

    def grid(self) -> list[Element]:
        """Return the lines and numbers of both axes."""
        values = [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]
        places = [(count, self.across(count)) for count in self.counts]
        heights = [(value, self.down(value)) for value in values]
        return [
            *(draw_tick(str(count), (x, TOP, x, BOTTOM), (x, BOTTOM + 16), "middle") for count, x in places),
            *(draw_tick(f"{value:.2f}", (LEFT, y, SIDE, y), (LEFT - 7, y + 4), "end") for value, y in heights),
        ]


def plot(curves: pd.DataFrame, label: str, palette: dict[str, str]) -> Element:
    """Plot curves with columns mean, min and max, indexed by (model, normals), over the logarithm of the number."""
    frame = Frame.of(curves)
    pixels = {model: curves.loc[model].map(frame.down).rename(index=frame.across) for model in palette}
    lines = [part for model, colour in palette.items() for part in _curve(pixels[model], colour)]
    ends = spread([curve["mean"].iloc[-1] for curve in pixels.values()])
    names = [
        draw_text(model, SIDE + 6, end + 4, "start", fill=palette[model])
        for model, end in zip(palette, ends, strict=True)
    ]
    titles = draw_titles(NORMALS, label, SIDE)
    return draw_svg(HEIGHT, f"{label} over {NORMALS}", [*frame.grid(), *lines, *names, *titles])


def _curve(pixels: pd.DataFrame, colour: str) -> list[Element]:
    """Return the line, dots and bars of a curve: x is the index, mean, min and max are heights, all in pixels."""
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels["mean"].items())
    parts = [element("polyline", points=corners, fill="none", stroke=colour, stroke_width=2)]
    for x, row in pixels.iterrows():
        parts.append(draw_line(x, row["min"], x, row["max"], stroke=colour, stroke_width=1.5))
        parts.append(element("circle", cx=f"{x:.1f}", cy=f"{row['mean']:.1f}", r=4, fill=colour))
    return parts


def _cell(found: pd.Series) -> Cell:
    return Cell(f"{found['mean']:.3f} ({found['min']:.3f} to {found['max']:.3f})", found["mean"])


def alone(plotted: Element) -> str:
    """Return a plot as a file of its own, with the page's styles of plots."""
    page = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    styles = "\n".join(line for line in page.splitlines() if line.startswith("svg"))
    sans = "svg { background: #fff; font-family: sans-serif; }"
    plotted.insert(0, element("style", f"{styles}\n{sans}"))
    plotted.set("xmlns", "http://www.w3.org/2000/svg")
    return tostring(plotted, encoding="unicode") + "\n"


def main() -> None:
    """Print the table of a folder of results, and write its plots."""
    from benchmarks.report.markdown import section

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report.few", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    folder = parser.parse_args().output
    try:
        few = Few.of(read_results(folder))
    except ValueError as error:
        parser.error(str(error))
    if few is None:
        parser.error(f"No model in {folder} has its own number of normals: run the benchmark with configs/few.yaml.")
    print(section(few.table))
    for measure, plotted in zip(PLOTTED, few.plots, strict=True):
        write_atomically(folder / f"few_{measure}.svg", alone(plotted))


if __name__ == "__main__":
    main()
