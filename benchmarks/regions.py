"""Maps condensed to histograms, from which AUPRO, AUROC and AP of redrawn images take milliseconds."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from skimage.measure import label

# Shares of the normal pixels at and above the bins' lower edges. AUPRO up to a rate L is off by less than half a step
# over L: small steps for the limits 0.05 and 0.3, geometric ones at the top for precision.
STEPS = (
    np.geomspace(1e-6, 1e-2, 1000),
    np.arange(1e-2, 0.05, 1e-4),
    np.arange(0.05, 0.3, 5e-4),
    np.linspace(0.3, 1, 500),
)


class Regions(NamedTuple):
    """Histograms of N images and their K connected defect regions over B common bins of ascending scores."""

    normal: np.ndarray  # (N, B) int64, normal pixels of every image
    defect: np.ndarray  # (N, B) int64, defect pixels of every image
    region: np.ndarray  # (K, B) float64, share of every region's pixels
    region_image: np.ndarray  # (K,) int64, index of the region's image

    @classmethod
    def of(cls, maps: np.ndarray, masks: np.ndarray) -> "Regions":
        """Condense maps (N, h, w) with masks (N, h, w) bool; regions are 8-connected, as in anomalib's AUPRO.

        Raises:
            ValueError: If the shapes differ, a map is not finite or there is no normal pixel.
        """
        check(maps, masks)
        edges = bin_edges(maps[~masks])
        size = len(edges) + 1
        places = [np.searchsorted(edges, values, side="right") for values in maps]
        shares = [shares_of(place, mask, size) for place, mask in zip(places, masks, strict=True)]
        return cls(
            np.stack([np.bincount(place[~mask], minlength=size) for place, mask in zip(places, masks, strict=True)]),
            np.stack([np.bincount(place[mask], minlength=size) for place, mask in zip(places, masks, strict=True)]),
            np.concatenate(shares),
            np.repeat(np.arange(len(maps)), [len(share) for share in shares]),
        )

    def save(self, path: Path) -> None:
        """Write all to a compressed ``.npz``."""
        np.savez_compressed(path, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> "Regions":
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(*(arrays[name] for name in cls._fields))


def aupro(regions: Regions, limit: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the area under the per-region overlap up to a false positive rate, over that rate.

    Args:
        regions: Histograms of N images.
        limit: False positive rate, above 0 and up to 1.
        weights: (..., N), how many times each image was drawn; once where not given.

    Returns:
        (...), in 0..1; NaN where nothing with a defect was drawn.
    """
    weights = drawn(regions, weights)
    images, bins = regions.normal.shape
    overlap, count = np.zeros((images, bins)), np.zeros(images)
    np.add.at(overlap, regions.region_image, regions.region)
    np.add.at(count, regions.region_image, 1)
    alarms = descending(weights @ regions.normal.astype(float))
    return area(share(alarms), descending(weights @ overlap) / positive(weights @ count)[..., None], limit)


def pixel_auroc(regions: Regions, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the area under the pixels' ROC curve; arguments and result as in `aupro`."""
    alarms, hits = pixels(regions, weights)
    return area(share(alarms), share(hits), 1.0)


def pixel_ap(regions: Regions, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the pixels' step-wise average precision, to 1e-3; arguments and result as in `aupro`.

    A bin's defect pixels have, on average, half of its others before them, and half of its normal pixels but the last,
    which is the bin's lower edge.
    """
    alarms, hits = pixels(regions, weights)
    before = np.maximum(middle(alarms) - 0.5, alarms[..., :-1])
    found = middle(hits) + 0.5
    return (np.diff(share(hits)) * found / (found + before)).sum(-1)


def pixels(regions: Regions, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return how many normal and how many defect pixels lie in and above each bin, both (..., B + 1)."""
    weights = drawn(regions, weights)
    return descending(weights @ regions.normal.astype(float)), descending(weights @ regions.defect.astype(float))


def area(rate: np.ndarray, overlap: np.ndarray, limit: float) -> np.ndarray:
    """Return the area under lines between points (..., P) of ascending rate up to a limit, over that limit."""
    width = np.diff(rate)
    inside = np.clip(limit - rate[..., :-1], 0, width)
    reached = overlap[..., :-1] + np.diff(overlap) * inside / np.where(width > 0, width, 1)
    return (inside * (overlap[..., :-1] + reached)).sum(-1) / (2 * limit)


def descending(counts: np.ndarray) -> np.ndarray:
    """Return nothing, then what lies in and above each bin from the highest down: (..., B) to (..., B + 1)."""
    nothing = np.zeros((*counts.shape[:-1], 1))
    return np.concatenate([nothing, np.cumsum(counts[..., ::-1], axis=-1)], axis=-1)


def share(counts: np.ndarray) -> np.ndarray:
    """Return cumulative counts over their total."""
    return counts / positive(counts[..., -1:])


def positive(counts: np.ndarray) -> np.ndarray:
    """Return counts with NaN for none."""
    return np.where(counts > 0, counts, np.nan)


def middle(values: np.ndarray) -> np.ndarray:
    """Return the means of neighbours."""
    return (values[..., :-1] + values[..., 1:]) / 2


def drawn(regions: Regions, weights: np.ndarray | None) -> np.ndarray:
    """Return weights as floats, so that sums are quick; exact to 2 ** 53 pixels."""
    return np.ones(len(regions.normal)) if weights is None else weights.astype(float)


def bin_edges(normal: np.ndarray) -> np.ndarray:
    """Return the ascending lower edges of the bins but the lowest: quantiles of the normal pixels.

    A value that fills more than a step has a bin of its own, and so has what lies above all normal pixels.
    """
    ordered = np.sort(normal)
    above = np.unique(np.round(np.concatenate(STEPS) * len(ordered)).astype(int).clip(1, len(ordered)))
    values, repeats = np.unique(ordered[len(ordered) - above], return_counts=True)
    alone = values[(repeats > 1) | (values == values[-1])]
    return np.unique(np.concatenate([values, np.nextafter(alone, np.inf, dtype=alone.dtype)]))


def shares_of(place: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
    """Return the histograms (K, size) of an image's K regions, each with sum 1, from the bins (h, w) of its pixels."""
    names = label(mask, connectivity=2)[mask] - 1
    count = int(names.max(initial=-1)) + 1
    histograms = np.bincount(names * size + place[mask], minlength=count * size).reshape(count, size)
    return histograms / histograms.sum(axis=1, keepdims=True)


def check(maps: np.ndarray, masks: np.ndarray) -> None:
    """Raise a `ValueError` if shapes differ, a map is not finite or all pixels are defects."""
    if maps.ndim != 3 or maps.shape != masks.shape:
        msg = f"Maps and masks have shapes {maps.shape} and {masks.shape}, expected both (N, h, w): resize one."
        raise ValueError(msg)
    if not np.isfinite(maps).all():
        msg = "Maps are not all finite: look for a division by zero or a diverged training."
        raise ValueError(msg)
    if masks.all():
        msg = "Every pixel of every mask is a defect, expected some normal ones: check the masks."
        raise ValueError(msg)
