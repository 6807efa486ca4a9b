"""The README's table, made from the committed runs."""

from pathlib import Path

import pandas as pd

from benchmarks.results import write_atomically

README = Path(__file__).parents[1] / "README.md"
RUNS = Path(__file__).parent / "results" / "stcm" / "runs.csv"
START, END = "<!-- benchmark table -->\n", "<!-- end of benchmark table -->\n"
SHOWN = ("image_auroc", "pixel_auroc", "aupro")


def table(runs: pd.DataFrame) -> str:
    """Return a Markdown table: a row a set, for every model image AUROC / pixel AUROC / AUPRO, mean over seeds."""
    means = runs.groupby(["set", "model"], sort=False)[list(SHOWN)].mean()
    models = list(dict.fromkeys(runs["model"]))
    rows = [[name, *(cell(means.loc[name, model]) for model in models)] for name in dict.fromkeys(runs["set"])]
    overall = means.groupby("model").mean()
    rows.append(["mean", *(cell(overall.loc[model]) for model in models)])
    lines = [["set", *models], ["---"] * (1 + len(models)), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(figures: pd.Series) -> str:
    """Return figures in 0..1 as ``.954/.942/.906``."""
    return "/".join(f"{figure:.3f}".removeprefix("0") for figure in figures)


def with_table(text: str, content: str) -> str:
    """Return a text with the content between the two marks replaced."""
    before, rest = text.split(START)
    return before + START + content + END + rest.split(END)[1]


if __name__ == "__main__":
    write_atomically(README, with_table(README.read_text(encoding="utf-8"), table(pd.read_csv(RUNS))))
