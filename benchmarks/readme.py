"""The README's table, made from the committed runs."""

from pathlib import Path

import pandas as pd

from benchmarks.report.markdown import table_line
from benchmarks.report.results import Results, read_results
from benchmarks.report.tables import set_means
from benchmarks.results import write_atomically

README = Path(__file__).parents[1] / "README.md"
RESULTS = Path(__file__).parent / "results" / "i3ad"
START, END = "<!-- benchmark table -->\n", "<!-- end of benchmark table -->\n"
SHOWN = ["image_auroc", "pixel_auroc", "aupro"]


def table(results: Results) -> str:
    """Return a Markdown table: a row a set, for every model image AUROC / pixel AUROC / AUPRO, mean over seeds."""
    means = set_means(results)[SHOWN]
    rows = [[name, *(cell(means.loc[model, name]) for model in results.models)] for name in results.sets]
    overall = means.groupby("model").mean()
    rows.append(["mean", *(cell(overall.loc[model]) for model in results.models)])
    lines = [["set", *results.models], ["---"] * (1 + len(results.models)), *rows]
    return "".join(f"{table_line(line)}\n" for line in lines)


def cell(figures: pd.Series) -> str:
    """Return figures in 0..1 as ``.954/.942/.906``."""
    return "/".join(f"{figure:.3f}".removeprefix("0") for figure in figures)


def with_table(text: str, content: str) -> str:
    """Return a text with the content between the two marks replaced."""
    before, rest = text.split(START)
    return before + START + content + END + rest.split(END)[1]


if __name__ == "__main__":
    write_atomically(README, with_table(README.read_text(encoding="utf-8"), table(read_results(RESULTS))))
