"""The tables of decisions: what models call anomalous by thresholds that normal images alone set."""

import pandas as pd
from scipy.stats import beta

from benchmarks.columns import DECISIONS, LABELS
from benchmarks.report.cells import DASH, Cell, Table, number
from benchmarks.report.results import Results

OF_BEST = {"image_of_best": ("image_f1", "image_f1_best"), "pixel_of_best": ("pixel_f1", "pixel_f1_best")}
LOWEST = "lowest_of_best"
COLUMNS = {
    **LABELS,
    "image_of_best": "image F1 of best",
    LOWEST: "lowest of a set",
    "pixel_of_best": "pixel F1 of best",
}
IMAGE = ["image_f1", "image_f1_best", "image_of_best"]
PIXEL = ["pixel_f1", "pixel_f1_best", "pixel_of_best"]
OVERALL = [
    *(*IMAGE, LOWEST, "image_f1_host", "recall", "false_alarms"),
    *(*PIXEL, "pixel_f1_host", "false_masks", "pg2", "pb2", "aupimo"),
]
BY_SET = [*IMAGE, "recall", "false_alarms", *PIXEL, "false_masks"]
NOTE = (
    "At the threshold that normal images alone set: a model's own, or for a peer the same quantile of held-out ones; "
    "anomalib's threshold is their maximum. Best is the best of all thresholds, chosen in hindsight. Recall is the "
    "share of defective images above the threshold, false alarms and masks that of good ones with a score or a pixel "
    "above it. PG2 is the share of good images below all but 2 % of the defective ones, PB2 the share of defective "
    "ones above all but 2 % of the good ones."
)
POOLED = (
    "Means over sets of the mean over seeds, but false alarms are pooled over all sets, with the 95 % binomial "
    "interval of the images of one seed"
)


def decision_tables(results: Results) -> list[Table]:
    """Return the means over sets and the decisions by set; nothing where no run decided."""
    by_set = decided(results)
    return [] if by_set.empty else [mean_decisions(results, by_set), set_decisions(results, by_set)]


def decided(results: Results) -> pd.DataFrame:
    """Return the decisions of every model and set, mean over seeds, indexed by (model, set), if there are any."""
    runs = results.rows
    runs = runs.assign(**{name: runs[own] / runs[best] for name, (own, best) in OF_BEST.items()})
    means = runs.groupby(["model", "set"])[["image_f1", *DECISIONS, *OF_BEST]].mean()
    return means.dropna(how="all")


def mean_decisions(results: Results, by_set: pd.DataFrame) -> Table:
    """Return the means over sets, false alarms pooled."""
    groups = {model: by_set.loc[model] for model in results.models if model in by_set.index}
    rate = results.config.get("false_alarm_rate")
    rows = [
        [Cell(model), Cell(f"{len(sets)} of {len(results.sets)}", len(sets)), *_overall(sets, rate)]
        for model, sets in groups.items()
    ]
    stated = f", bold where it holds the stated rate of {rate:g}" if rate else ""
    return Table(
        "Decisions", ["model", "sets", *(COLUMNS[name] for name in OVERALL)], rows, f"{POOLED}{stated}. {NOTE}"
    )


def _overall(sets: pd.DataFrame, rate: float | None) -> list[Cell]:
    means = {**sets.mean(), LOWEST: sets["image_of_best"].min()}
    pooled = alarms(sets, rate)
    return [pooled if name == "false_alarms" else number(means[name], 3) for name in OVERALL]


def set_decisions(results: Results, by_set: pd.DataFrame) -> Table:
    """Return the decisions of every model on every set."""
    places = [(model, name) for name in results.sets for model in results.models if (model, name) in by_set.index]
    rows = [[Cell(name), Cell(model), *_single(by_set.loc[(model, name)])] for model, name in places]
    return Table("Decisions by set", ["set", "model", *(COLUMNS[name] for name in BY_SET)], rows)


def _single(found: pd.Series) -> list[Cell]:
    counted = alarms(found.to_frame().T)
    return [counted if name == "false_alarms" else number(found[name], 3) for name in BY_SET]


def alarms(sets: pd.DataFrame, rate: float | None = None) -> Cell:
    """Return the false alarms of sets together, with their interval; it stands out where that holds a rate."""
    known = sets.dropna(subset=["false_alarms", "good_images"])
    total = known["good_images"].sum()
    if not total:
        return Cell(DASH)
    count = (known["false_alarms"] * known["good_images"]).sum()
    low, high = binomial_interval(count, total)
    counted = f"{count:.1f}".removesuffix(".0")
    text = f"{count / total:.3f} ({low:.3f} to {high:.3f}), {counted} of {total:.0f}"
    return Cell(text, count / total, rate is not None and low <= rate <= high)


def binomial_interval(count: float, total: float) -> tuple[float, float]:
    """Return the 95 % interval of Clopper and Pearson for a share; a mean over seeds need be no whole count."""
    low = beta.ppf(0.025, count, total - count + 1) if count > 0 else 0.0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    return float(low), float(high)
