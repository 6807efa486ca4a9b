"""The report's tables as plain cells, made once for Markdown and HTML."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from benchmarks.columns import ACCURACY, COSTS, LABELS
from benchmarks.report.cells import DASH, Cell, Table, leads, number
from benchmarks.report.decisions import decision_tables
from benchmarks.report.differences import SHOWN, Claim, Difference, Pair, claims, pairs
from benchmarks.report.few import Few
from benchmarks.report.results import Results
from benchmarks.report.weather import weather_table
from benchmarks.settings import STATISTIC

NO_INTERVAL = (
    "A dash in place of an interval: resampling needs images.csv and regions.npz of both models' runs, and one of six "
    "accuracy measures (all but F1)."
)
SETS_NOTE = "Mean ± sample deviation over seeds (none with one seed). The best mean of a set is bold."
HINDSIGHT = (
    f"{STATISTIC}: no model, but the statistic of the pixels that fits the test labels best, chosen in hindsight: "
    "a bar which shows that a set is easy."
)
RESAMPLING = "Over the seeds that both models have; in brackets the 95 % bootstrap interval over images"


class Tables(NamedTuple):
    """All tables of a report."""

    claims: Table | None
    means: Table
    decisions: list[Table]
    few: Few | None
    weather: Table | None
    costs: Table
    sets: list[Table]
    differences: Table | None


def make_tables(results: Results, few: Results | None = None) -> Tables:
    """Compute all tables of a report; runs with few images may be in results of their own."""
    claimed, compared = claims(results), pairs(results)
    return Tables(
        claim_table(claimed) if claimed else None,
        mean_table(results),
        decision_tables(results),
        Few.of(few or results),
        weather_table(results.folder),
        cost_table(results),
        [set_table(results, name) for name in results.sets],
        difference_table(compared) if compared else None,
    )


def set_table(results: Results, set_name: str) -> Table:
    """Return mean and deviation over seeds of the accuracy of every model on a set."""
    runs = {model: results.of(set_name, model)[list(ACCURACY)] for model in results.models}
    runs = {model: rows for model, rows in runs.items() if len(rows)}
    means = pd.DataFrame({model: rows.mean() for model, rows in runs.items()})
    rows = [
        [Cell(model), Cell(str(len(found)), len(found))]
        + [_spread(found[column], leads(means.loc[column], model)) for column in ACCURACY]
        for model, found in runs.items()
    ]
    return Table(set_name, ["model", "seeds", *ACCURACY.values()], rows)


def set_means(results: Results) -> pd.DataFrame:
    """Return the accuracy of every model and set, mean over seeds, indexed by (model, set)."""
    return results.rows.groupby(["model", "set"])[list(ACCURACY)].mean()


def mean_table(results: Results) -> Table:
    """Return the mean over sets of the mean over seeds."""
    means = set_means(results).groupby("model").mean()
    seeds = results.rows.groupby(["model", "set"]).size()  # as many rows a model as it has sets
    full = means.loc[results.complete]
    rows = [
        [Cell(model), Cell(f"{len(seeds[model])} of {len(results.sets)}", len(seeds[model])), span(seeds[model])]
        + [number(means.loc[model, column], 3, leads(full[column], model)) for column in ACCURACY]
        for model in results.models
    ]
    note = "Mean over sets of the mean over seeds. The best of the models whose seeds all ran on every set is bold."
    note += f" {HINDSIGHT}" if STATISTIC in results.models else ""
    return Table("Means over sets", ["model", "sets", "seeds", *ACCURACY.values()], rows, note)


def span(counts: pd.Series) -> Cell:
    """Return a number, or the lowest and the highest where they differ."""
    low, high = counts.min(), counts.max()
    return Cell(str(low) if low == high else f"{low} to {high}", low)


def cost_table(results: Results) -> Table:
    """Return the medians over all runs of what a model costs; a model without any cost has no row."""
    medians = results.rows.groupby("model")[list(COSTS)].median()
    rows = [
        [Cell(model), *(number(medians.loc[model, column], 1) for column in COSTS)]
        for model in results.models
        if medians.loc[model].notna().any()
    ]
    return Table(
        "Costs",
        ["model", *COSTS.values()],
        rows,
        "Medians over all sets and seeds. The first run of a model has all cores; the others share them by --jobs.",
    )


def difference_table(compared: list[Pair]) -> Table:
    """Return what the first model has over every other."""
    rows = [
        [Cell(pair.set_name), Cell(f"{pair.first} minus {pair.second}")]
        + [_difference(pair.differences[measure]) for measure in SHOWN]
        for pair in compared
    ]
    note = _note((pair.differences[measure] for pair in compared for measure in SHOWN), "bold where it leaves out 0")
    return Table("Paired differences", ["set", "difference", *(LABELS[measure] for measure in SHOWN)], rows, note)


def claim_table(claimed: list[Claim]) -> Table:
    """Return what claims expect, what was measured, and what follows."""
    rows = [
        [
            Cell(claim.text),
            Cell(claim.expected),
            Cell(claim.set_name),
            _difference(claim.difference),
            Cell(claim.verdict),
        ]
        for claim in claimed
    ]
    note = _note((claim.difference for claim in claimed), "undecided where it covers 0, or the margin below it")
    return Table("Claims", ["claim", "expected", "set", "difference", "verdict"], rows, note)


def _note(found: Iterable[Difference | None], reading: str) -> str:
    note = f"{RESAMPLING}, {reading}."
    return f"{note} {NO_INTERVAL}" if any(one and one.low is None for one in found) else note


def _spread(seeds: pd.Series, strong: bool) -> Cell:
    mean, deviation = seeds.mean(), seeds.std()
    cell = number(mean, 3, strong)
    return cell if math.isnan(deviation) else cell._replace(text=f"{mean:.3f} ± {deviation:.3f}")


def _difference(found: Difference | None) -> Cell:
    if found is None:
        return Cell(DASH)
    interval = DASH if found.low is None else f"{found.low:+.3f} to {found.high:+.3f}"
    return Cell(f"{found.value:+.3f} ({interval})", found.value, found.verdict() in ("holds", "fails"))
