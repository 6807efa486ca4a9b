"""The tables of README.md and docs/benchmark.md, made from the committed runs."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

import pandas as pd

from benchmarks.report.markdown import table_line
from benchmarks.report.results import Results, read_results
from benchmarks.report.tables import set_means
from benchmarks.results import write_atomically

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
RACE = RESULTS / "race"
SHOWN = ["image_auroc", "aupro", "aupro_05"]
TUNED_ON = ("mt-small", "lgg-small")  # defaults were chosen by their test images, so their figures are optimistic


def by_set(results: Results) -> str:
    """Return a Markdown table: a row for every set, then, of several, the means of all and of those not tuned on.

    A cell is image AUROC / AUPRO / AUPRO at 5 % false positives of a model, mean over seeds.
    """
    means, models = set_means(results)[SHOWN], results.complete
    rows = [[name, *(cell(means.loc[model, name]) for model in models)] for name in results.sets]
    if len(rows) > 1:
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


class Place(NamedTuple):
    """A table in a page, between two marks that name the folder of its results."""

    page: Path
    folder: Path
    table: Callable[[Results], str]

    @property
    def marks(self) -> tuple[str, str]:
        """What stands before and after it."""
        return f"<!-- table of {self.folder.name} -->\n", f"<!-- end of {self.folder.name} -->\n"

    def filled(self, text: str, content: str) -> str:
        """Return the page's text with the content between the two marks replaced."""
        start, end = self.marks
        before, rest = text.split(start)
        return before + start + content + end + rest.split(end)[1]

    def made(self) -> str:
        """Return the table, made from the results."""
        return self.table(read_results(self.folder))


README, BENCHMARK = ROOT / "README.md", ROOT / "docs" / "benchmark.md"
PEERS = RESULTS / "peers"
PLACES: Final = [Place(README, RACE, overall), Place(BENCHMARK, RACE, by_set), Place(BENCHMARK, PEERS, by_set)]

if __name__ == "__main__":
    for place in PLACES:
        page = place.page.read_text(encoding="utf-8")
        write_atomically(place.page, place.filled(page, place.made()))
