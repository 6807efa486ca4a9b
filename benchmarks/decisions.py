"""What a model decides with thresholds from normal images alone, by anomalib's own metrics."""

from typing import Final

import numpy as np
from anomalib.metrics import AUPIMO, F1Max, PBn, PGn

from benchmarks.measures import FIELDS, UNDEFINED, accuracy, f1_above, measured, unit
from benchmarks.predictions import Predictions
from benchmarks.thresholds import Thresholds

MISSED: Final = 0.02  # share of the other class that PG2 and PB2 get wrong
LEVELS: Final = 3000  # thresholds of AUPIMO, even in the logarithm of the rate


def figures(found: Predictions) -> dict[str, float]:
    """Return the columns of accuracy and decisions of a row, NaN where one is undefined.

    Raises:
        ValueError: If the shapes do not fit, or a score or a map is not finite.
    """
    ranked = accuracy(found.scores, found.labels, found.thresholds.image, found.maps, found.masks)
    return ranked | decisions(found)


def decisions(found: Predictions) -> dict[str, float]:
    """Return the columns of decisions, 0..1 but for ``good_images``, NaN where one is undefined.

    ``recall`` and ``false_alarms`` are the shares of defective and of good images above the threshold,
    ``false_masks`` the share of good images with any pixel above theirs; ``_host`` is by anomalib's threshold,
    ``_best`` by the best one, chosen in hindsight. ``pg2`` is the share of good images below all but 2 % of the
    defective ones, ``pb2`` the share of defective images above all but 2 % of the good ones.
    """
    peaks = found.maps[~found.labels].max(axis=(1, 2))
    return {
        **image_decisions(found.scores, found.labels, found.thresholds),
        **pixel_decisions(found.maps, found.masks, found.thresholds),
        "false_masks": share_above(peaks, found.thresholds.pixel),
    }


def image_decisions(scores: np.ndarray, labels: np.ndarray, thresholds: Thresholds) -> dict[str, float]:
    """Return the decisions on images from scores (N,) and labels (N,) bool."""
    within = unit(scores)
    single = within.astype(np.float32)  # as the rates of PGn and PBn
    return {
        "image_f1_host": f1_above(scores, labels, thresholds.host_image),
        "image_f1_best": measured(F1Max(FIELDS), within, labels),
        "recall": share_above(scores[labels], thresholds.image),
        "false_alarms": share_above(scores[~labels], thresholds.image),
        "good_images": int((~labels).sum()),
        "pg2": measured(PGn(fields=FIELDS, fnr=MISSED), single, labels),
        "pb2": measured(PBn(fields=FIELDS, fpr=MISSED), single, labels),
    }


def pixel_decisions(maps: np.ndarray, masks: np.ndarray, thresholds: Thresholds) -> dict[str, float]:
    """Return the decisions on pixels from maps (N, h, w) and masks (N, h, w) bool."""
    return {
        "pixel_f1": f1_above(maps, masks, thresholds.pixel),
        "pixel_f1_host": f1_above(maps, masks, thresholds.host_pixel),
        "pixel_f1_best": measured(F1Max(FIELDS), unit(maps), masks),
        "aupimo": aupimo(maps, masks),
    }


def share_above(values: np.ndarray, threshold: float) -> float:
    """Return the share of values above a threshold, NaN without the one or the other."""
    return float(np.mean(values > threshold)) if len(values) and not np.isnan(threshold) else UNDEFINED


def aupimo(maps: np.ndarray, masks: np.ndarray) -> float:
    """Return anomalib's AUPIMO, mean over images with a defect.

    NaN where no threshold has its rates of 1e-5 to 1e-4: with fewer normal pixels, or too many that are equal.
    """
    try:
        return measured(AUPIMO(fields=FIELDS, num_thresholds=LEVELS), rarity(maps, masks), masks)
    except (RuntimeError, ValueError):  # which of the two anomalib raises depends on how many pixels are equal
        return UNDEFINED


def rarity(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return minus the logarithm of the share of normal images' pixels that are at least as high, (N, h, w).

    The order stays, and AUPIMO's thresholds, even between lowest and highest value, become even in the logarithm over
    which it integrates: 3,000 do for the 300,000 that it takes of plain maps, in a hundredth of the memory.
    """
    normal = np.sort(maps[~masks.any(axis=(1, 2))], axis=None)
    higher = len(normal) - np.searchsorted(normal, maps)
    return -np.log(np.maximum(higher, 0.5) / max(len(normal), 1))
