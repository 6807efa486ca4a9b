"""The tables of README.md and docs/benchmark.md, made from the committed runs."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pandas as pd

from benchmarks.report.markdown import table_line
from benchmarks.report.results import Results, read_results
from benchmarks.report.tables import set_means
from benchmarks.results import write_atomically

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "race"
START, END = "<!-- benchmark table -->\n", "<!-- end of benchmark table -->\n"
SHOWN = ["image_auroc", "aupro", "aupro_05"]
TUNED_ON = ("mt-small", "lgg-small")  # defaults were chosen by their test images, so their figures are optimistic


def by_set(results: Results) -> str:
    """Return a Markdown table: a row for every set, then the means of all sets and of those not tuned on.

    A cell is image AUROC / AUPRO / AUPRO at 5 % false positives of a model, mean over seeds.
    """
    means, models = set_means(results)[SHOWN], results.complete
    rows = [[name, *(cell(means.loc[model, name]) for model in models)] for name in results.sets]
    others = [name for name in results.sets if name not in TUNED_ON]
    rows += [mean_row(results, results.sets), mean_row(results, others)]
    return markdown(["set", *models], rows)


def overall(results: Results) -> str:
    """Return a Markdown table of one row: the means over all sets."""
    return markdown(["", *results.complete], [mean_row(results, results.sets)])


def mean_row(results: Results, sets: list[str]) -> list[str]:
    """Return the means over some sets as cells, the first of which says how many sets they are."""
    means = set_means(results)[SHOWN]
    chosen = means[means.index.get_level_values("set").isin(sets)].groupby("model").mean()
    return [f"mean of {len(sets)} sets", *(cell(chosen.loc[model]) for model in results.complete)]


def cell(figures: pd.Series) -> str:
    """Return figures in 0..1 as ``.954/.942/.906``."""
    return "/".join(f"{figure:.3f}".removeprefix("0") for figure in figures)


def markdown(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    return "".join(f"{table_line(line)}\n" for line in [head, ["---"] * len(head), *rows])


def with_table(text: str, content: str) -> str:
    """Return a text with the content between the two marks replaced."""
    before, rest = text.split(START)
    return before + START + content + END + rest.split(END)[1]


PAGES: Final[dict[Path, Callable[[Results], str]]] = {
    ROOT / "README.md": overall,
    ROOT / "docs" / "benchmark.md": by_set,
}

if __name__ == "__main__":
    measured = read_results(RESULTS)
    for page, table in PAGES.items():
        write_atomically(page, with_table(page.read_text(encoding="utf-8"), table(measured)))
