"""What every model is worth in every kind of weather, where the runs measured it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.columns import KEYS, LABELS
from benchmarks.report.cells import Cell, Table, number
from benchmarks.results import finished
from benchmarks.weather import MEASURES, NONE

NOTE = (
    "Mean over the sets where it was measured of the mean over seeds, by the same trainings; in brackets the "
    "difference to unaltered images."
)


def weather_table(output: Path) -> Table | None:
    """Return the table of a folder of results, ``None`` where no run measured the weather."""
    found = list(runs(output))
    if not found:
        return None
    measured = pd.concat(found, ignore_index=True)
    values, sets = means(measured), measured.groupby("model")["set"].nunique()
    rows = [
        [
            Cell(model),
            Cell(str(sets[model]), sets[model]),
            Cell(kind),
            *(cell(values.loc[(model, kind), name], values.loc[(model, NONE), name], kind) for name in MEASURES),
        ]
        for model, kind in values.index
    ]
    return Table("Weather", ["model", "sets", "weather", *(LABELS[name] for name in MEASURES)], rows, NOTE)


def runs(output: Path) -> Iterator[pd.DataFrame]:
    """Yield ``weather.csv`` of every finished run that has one, with the run's set, model and seed."""
    for path in sorted(finished(output / "runs")):
        if (path.parent / "weather.csv").is_file():
            run = json.loads(path.read_text())
            yield pd.read_csv(path.parent / "weather.csv", keep_default_na=False, na_values="").assign(
                **{key: run[key] for key in KEYS}
            )


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `MEASURES` by model and kind, mean over sets of the mean over seeds, in the order of the rows."""
    by_set = rows.groupby(["model", "kind", "set"], sort=False)[list(MEASURES)].mean()
    return by_set.groupby(["model", "kind"], sort=False).mean()


def cell(value: float, plain: float, kind: str) -> Cell:
    """Return a value with its difference to that of the images as they are."""
    shown = number(value, 3)
    return shown if kind == NONE else shown._replace(text=f"{shown.text} ({value - plain:+.3f})")
