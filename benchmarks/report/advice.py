"""Which model to take when, in three sentences made from the report's own means."""

import pandas as pd

from benchmarks.columns import LABELS
from benchmarks.report.cells import leaders
from benchmarks.report.results import Results
from benchmarks.report.tables import set_means
from benchmarks.settings import STATISTIC

PURPOSES = {"image_auroc": "To tell good images from bad ones", "aupro": "To see where a defect is"}
FASTEST = {"train_s": ("trains", "{:.0f} s"), "latency_ms": ("answers", "{:.1f} ms an image")}
NONE = "No model ran on every set with all of its seeds yet, so there is none to advise."
NO_TIMES = "No run measured how long a model takes."


def advice(results: Results) -> str:
    """Return the sentences on the complete models, but the statistic and those trained on defects on purpose."""
    specs = results.config.get("models") or {}
    spoilt = {name for name, spec in specs.items() if spec.get("contamination")}
    if not (models := [name for name in results.complete if name not in {STATISTIC, *spoilt}]):
        return NONE
    found = set_means(results).loc[models]
    means = found.groupby("model", sort=False).mean().dropna(axis=1, how="all")
    sentences = [
        best(means[measure], purpose, where(found[measure]))
        for measure, purpose in PURPOSES.items()
        if measure in means
    ]
    return " ".join([*sentences, quickest(results.rows.groupby("model")[list(FASTEST)].median().loc[models])])


def where(figures: pd.Series) -> str:
    """Return over which sets a measure, indexed by (model, set), is a mean: without masks there is no AUPRO."""
    sets = figures.dropna().index.unique("set")
    return f"in the mean over {len(sets)} sets" if len(sets) > 1 else f"on {sets[0]}"


def best(means: pd.Series, purpose: str, sets: str) -> str:
    """Return which model leads in a measure, the first of those that are equal, and which are or come next."""
    order = means.dropna().sort_values(ascending=False, kind="stable")
    first, *equal = leaders(means)
    after = ""
    if equal:
        after = f", the same as that of {', '.join(equal)}"
    elif len(order) > 1:
        after = f", before {order.index[1]} ({order.iloc[1]:.3f})"
    return f"{purpose}, take {first}: its {LABELS[str(means.name)]} is the highest, {means[first]:.3f} {sets}{after}."


def quickest(medians: pd.DataFrame) -> str:
    """Return which models train and answer fastest, by their medians."""
    known = medians.dropna(axis=1, how="all")
    found = {FASTEST[name]: (known[name].idxmin(), known[name].min()) for name in known}
    if not found:
        return NO_TIMES
    told = [f"{model} {verb} fastest ({shown.format(time)})" for (verb, shown), (model, time) in found.items()]
    return f"Where time is short: {' and '.join(told)}."
