"""How far two models differ on the same images and seeds, and how sure that is: a paired bootstrap over images."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.regions import Regions, area, aupro, descending, pixel_ap, pixel_auroc, share

Measure = Callable[[Path, np.ndarray], np.ndarray]  # run folder and weights (R, N) to figures (R,)


class Interval(NamedTuple):
    """A difference on all images, with the ends of its 95 % interval over redrawn images."""

    value: float
    low: float
    high: float


def paired_difference(
    first: Sequence[Path], second: Sequence[Path], measure: str, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Return first minus second in a measure, mean over seeds.

    Images are drawn with replacement among the normal and among the defective ones, the same for both models and all
    seeds. So the interval is about other images of the same kind; that seeds are few does not widen it.

    Args:
        first: Run folders of a model on a set, one a seed.
        second: Run folders of the other on the same set, the same seeds in the same order.
        measure: One of `MEASURES`.
        resamples: Draws of the images.
        seed: Of the draws.

    Returns:
        All NaN where the measure is undefined on all images; draws where it is undefined are left out.

    Raises:
        ValueError: If the folders do not match, do not hold the same images or there is no such measure.
    """
    return pooled_difference({"": (first, second)}, measure, resamples, seed)


def pooled_difference(
    pairs_by_set: Mapping[str, tuple[Sequence[Path], Sequence[Path]]],
    measure: str,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the mean over sets of first minus second, images redrawn within each set; else as `paired_difference`."""
    random = np.random.default_rng(seed)
    measured = known(measure)
    return interval(
        np.mean([differences(*pair, measured, resamples, random) for pair in pairs_by_set.values()], axis=0)
    )


def differences(
    first: Sequence[Path], second: Sequence[Path], measured: Measure, resamples: int, random: np.random.Generator
) -> np.ndarray:
    """Return the mean difference on all images, then on every draw: (1 + resamples,)."""
    weights = draws(common_labels(first, second), resamples, random)
    return np.mean(
        [measured(one, weights) - measured(other, weights) for one, other in zip(first, second, strict=True)], 0
    )


def interval(values: np.ndarray) -> Interval:
    """Return the interval of differences, that on all images first."""
    if np.isnan(values[0]):
        return Interval(*[float("nan")] * 3)
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return Interval(float(values[0]), float(low), float(high))


def draws(labels: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Return how many times each image is drawn, once in the first row: (1 + resamples, N) for labels (N,)."""
    weights = np.ones((1 + resamples, len(labels)), dtype=np.int64)
    for kind in np.unique(labels):
        places = np.flatnonzero(labels == kind)
        weights[1:, places] = random.multinomial(len(places), np.full(len(places), 1 / len(places)), size=resamples)
    return weights


def common_labels(first: Sequence[Path], second: Sequence[Path]) -> np.ndarray:
    """Return the labels (N,) of the images that all folders hold, or raise a `ValueError`."""
    if not first or len(first) != len(second):
        msg = f"{len(first)} runs against {len(second)}: expected one of each model for every seed."
        raise ValueError(msg)
    folders = [*first, *second]
    images = [identity(folder) for folder in folders]
    for folder, found in zip(folders, images, strict=True):
        if found != images[0]:
            msg = f"{folder} and {folders[0]} do not hold the same images in the same order: run both on the same set."
            raise ValueError(msg)
    return np.array([label for *_, label in images[0]])


def identity(folder: Path) -> list[tuple[str | int, ...]]:
    """Return split, kind, name and label of a run's images, wherever the set lay."""
    table = pd.read_csv(folder / "images.csv")
    return [(*Path(path).parts[-3:], int(label)) for path, label in zip(table["path"], table["label"], strict=True)]


def known(measure: str) -> Measure:
    """Return a measure by its name, or raise a `ValueError`."""
    if measure not in MEASURES:
        msg = f"'{measure}' has no interval, expected one of {', '.join(MEASURES)}."
        raise ValueError(msg)
    return MEASURES[measure]


def image_auroc(folder: Path, weights: np.ndarray) -> np.ndarray:
    """Return the area under the images' ROC curve, one for each row of weights (R, N)."""
    alarms, hits = ranked(folder, weights)
    return area(share(alarms), share(hits), 1.0)


def image_ap(folder: Path, weights: np.ndarray) -> np.ndarray:
    """Return the images' step-wise average precision, one for each row of weights (R, N)."""
    alarms, hits = ranked(folder, weights)
    return (np.diff(share(hits)) * hits[:, 1:] / np.maximum(hits + alarms, 1)[:, 1:]).sum(-1)


def ranked(folder: Path, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many normal and how many defective images score at least each distinct score, from the highest."""
    images = pd.read_csv(folder / "images.csv")
    distinct, rank = np.unique(images["score"], return_inverse=True)
    ranks, labels = np.eye(len(distinct))[rank], images["label"].to_numpy()[:, None]
    return descending(weights @ (ranks * (1 - labels))), descending(weights @ (ranks * labels))


def from_regions(
    measured: Callable[[Regions, np.ndarray], np.ndarray], folder: Path, weights: np.ndarray
) -> np.ndarray:
    """Return a measure of a folder's ``regions.npz``, one for each row of weights (R, N)."""
    return measured(Regions.load(folder / "regions.npz"), weights)


MEASURES: dict[str, Measure] = {
    "image_auroc": image_auroc,
    "image_ap": image_ap,
    "aupro": partial(from_regions, lambda regions, weights: aupro(regions, 0.3, weights)),
    "aupro_05": partial(from_regions, lambda regions, weights: aupro(regions, 0.05, weights)),
    "pixel_auroc": partial(from_regions, pixel_auroc),
    "pixel_ap": partial(from_regions, pixel_ap),
}
