"""Paired differences of two models on the same images and seeds, and the verdict on what a claim expects of them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.bootstrap import paired_difference
from benchmarks.report.results import LABELS, Results

SHOWN = ("image_auroc", "aupro")
RESAMPLED = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro", "aupro_05")
RUN_FILES = ("images.csv", "regions.npz")


class Difference(NamedTuple):
    """First minus second, mean over the seeds both have; ends are None where images could not be resampled."""

    value: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """Whether first lies above second: ``holds``, ``fails``, ``undecided``, or a dash without an interval."""
        if self.low is None or self.high is None:
            return "-"
        if self.low > 0:
            return "holds"
        return "fails" if self.high < 0 else "undecided"


class Pair(NamedTuple):
    """Two models on a set, with their difference in every shown measure; None where one lacks it."""

    set_name: str
    first: str
    second: str
    differences: dict[str, Difference | None]


class Claim(NamedTuple):
    """A claim on a set: ``better`` is expected above ``worse`` in a measure; None where one was not measured."""

    text: str
    better: str
    worse: str
    measure: str
    set_name: str
    difference: Difference | None


def difference(results: Results, set_name: str, first: str, second: str, measure: str) -> Difference | None:
    """Return first minus second on a set, with a 95 % interval over images where the run folders are there."""
    columns = {"first": results.of(set_name, first)[measure], "second": results.of(set_name, second)[measure]}
    rows = pd.DataFrame(columns).dropna()
    if rows.empty:
        return None
    folders = [[results.run(set_name, model, seed) for seed in rows.index] for model in (first, second)]
    complete = all((folder / name).is_file() for side in folders for folder in side for name in RUN_FILES)
    if measure in RESAMPLED and complete:
        return Difference(*paired_difference(folders[0], folders[1], measure))
    return Difference(float((rows["first"] - rows["second"]).mean()), None, None)


def pairs(results: Results) -> list[Pair]:
    """Return the first model against every other, set by set."""
    first, *others = results.models
    return [
        Pair(name, first, other, {measure: difference(results, name, first, other, measure) for measure in SHOWN})
        for name in results.sets
        for other in others
    ]


def claims(results: Results) -> list[Claim]:
    """Return every claim of the settings on every set.

    Raises:
        ValueError: If a claim lacks a part or names a measure that there is not.
    """
    return list(_claims(results))


def _claims(results: Results) -> Iterator[Claim]:
    for claim in results.config.get("claims") or []:
        _check(claim)
        names = claim["better"], claim["worse"], claim["measure"]
        for set_name in results.sets:
            yield Claim(claim["claim"], *names, set_name, difference(results, set_name, *names))


def _check(claim: dict[str, Any]) -> None:
    if missing := sorted({"claim", "better", "worse", "measure"} - set(claim)):
        msg = f"A claim lacks {', '.join(missing)}: {claim}. Add it to the manifest's configuration."
        raise ValueError(msg)
    if claim["measure"] not in LABELS:
        msg = (
            f"The claim '{claim['claim']}' measures {claim['measure']}, expected one of {', '.join(LABELS)}: change it."
        )
        raise ValueError(msg)
