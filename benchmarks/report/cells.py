"""Tables as plain cells, and how figures are written in them."""

import math
from typing import NamedTuple

import pandas as pd

DASH = "-"


class Cell(NamedTuple):
    """What a cell shows, what it is sorted by (None: its text), and whether it stands out."""

    text: str
    value: float | None = None
    strong: bool = False


class Table(NamedTuple):
    """A table with a title and a sentence on how it is read."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


def number(value: float, digits: int, strong: bool = False) -> Cell:
    """Return a figure, a dash where nothing was measured."""
    return Cell(DASH) if math.isnan(value) else Cell(f"{value:.{digits}f}", value, strong)


def leads(means: pd.Series, model: str) -> bool:
    """Tell whether a model is among the leaders; alone, it leads nobody."""
    return len(means) > 1 and model in leaders(means)


def leaders(means: pd.Series) -> list[str]:
    """Return the models with the highest mean, as far as three digits show it, in their order."""
    shown = means.dropna().round(3)
    return list(shown.index[shown == shown.max()])
