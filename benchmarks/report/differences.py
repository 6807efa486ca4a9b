"""Paired differences of two models on the same images and seeds, and the verdict on what a claim expects of them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.bootstrap import MEASURES, pooled_difference
from benchmarks.columns import LABELS
from benchmarks.report.results import Results

SHOWN = ("image_auroc", "aupro", "aupro_05")
RUN_FILES = ("images.csv", "regions.npz")
ALL_SETS = "mean over sets"


class Difference(NamedTuple):
    """First minus second, mean over sets and the seeds both have; ends are None where images cannot be redrawn."""

    value: float
    low: float | None
    high: float | None

    def verdict(self, margin: float = 0.0) -> str:
        """Return ``holds`` where first lies above second less the margin, ``fails`` or ``undecided``.

        It is a dash without an interval.
        """
        if self.low is None or self.high is None:
            return "-"
        if self.low > -margin:
            return "holds"
        return "fails" if self.high < -margin else "undecided"


class Pair(NamedTuple):
    """Two models on a set, with their difference in every shown measure; None where one was not measured."""

    set_name: str
    first: str
    second: str
    differences: dict[str, Difference | None]


class Claim(NamedTuple):
    """A claim on a set: ``better`` is expected above ``worse`` in a measure, or below it by the margin at most.

    Its difference is None where one was not measured.
    """

    text: str
    better: str
    worse: str
    measure: str
    margin: float
    set_name: str
    difference: Difference | None

    @property
    def expected(self) -> str:
        """What the difference is expected to be."""
        below = f"at most {self.margin:g} below" if self.margin else "above"
        return f"{self.better} {below} {self.worse} in {LABELS[self.measure]}"

    @property
    def verdict(self) -> str:
        """What the difference says of it."""
        return self.difference.verdict(self.margin) if self.difference else "-"


def difference(results: Results, sets: Sequence[str], first: str, second: str, measure: str) -> Difference | None:
    """Return first minus second on sets, with a 95 % interval over images where the run folders are there."""
    common = {name: _common(results, name, first, second, measure) for name in sets}
    if any(rows.empty for rows in common.values()):
        return None
    folders = {
        name: (_runs(results, name, first, rows.index), _runs(results, name, second, rows.index))
        for name, rows in common.items()
    }
    runs = [folder for sides in folders.values() for side in sides for folder in side]
    if measure in MEASURES and all((folder / name).is_file() for folder in runs for name in RUN_FILES):
        return Difference(*pooled_difference(folders, measure))
    means = [(rows["first"] - rows["second"]).mean() for rows in common.values()]
    return Difference(sum(means) / len(means), None, None)


def _common(results: Results, set_name: str, first: str, second: str, measure: str) -> pd.DataFrame:
    """Return what two models reached with the seeds both have, by seed."""
    sides = {"first": results.of(set_name, first)[measure], "second": results.of(set_name, second)[measure]}
    return pd.DataFrame(sides).dropna()


def _runs(results: Results, set_name: str, model: str, seeds: Iterable[int]) -> list[Path]:
    return [results.run(set_name, model, seed) for seed in seeds]


def pairs(results: Results) -> list[Pair]:
    """Return the first model against every other, set by set and over all sets."""
    first, *others = results.models
    return [
        Pair(name, first, other, {measure: difference(results, sets, first, other, measure) for measure in SHOWN})
        for name, sets in groups(results).items()
        for other in others
    ]


def groups(results: Results) -> dict[str, list[str]]:
    """Return what differences are taken over: every set, and all where there are several."""
    single = {name: [name] for name in results.sets}
    return single | {ALL_SETS: results.sets} if len(single) > 1 else single


def claims(results: Results) -> list[Claim]:
    """Return every claim of the settings on every set and over all.

    Raises:
        ValueError: If a claim lacks a part or names a measure that there is not.
    """
    return list(_claims(results))


def _claims(results: Results) -> Iterator[Claim]:
    for claim in results.config.get("claims") or []:
        _check(claim)
        names = claim["better"], claim["worse"], claim["measure"]
        for name, sets in groups(results).items():
            yield Claim(claim["claim"], *names, claim.get("margin", 0.0), name, difference(results, sets, *names))


def _check(claim: dict[str, Any]) -> None:
    if missing := sorted({"claim", "better", "worse", "measure"} - set(claim)):
        msg = f"A claim lacks {', '.join(missing)}: {claim}. Add it to the manifest's configuration."
        raise ValueError(msg)
    if claim["measure"] not in LABELS:
        msg = (
            f"The claim '{claim['claim']}' measures {claim['measure']}, expected one of {', '.join(LABELS)}: change it."
        )
        raise ValueError(msg)
