"""Accuracy of scores and maps, by anomalib's own metrics."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from anomalib.metrics import AUPR, AUPRO, AUROC, AnomalibMetric, F1Score

UNDEFINED = float("nan")
FIELDS = ("prediction", "truth")


def accuracy(
    scores: np.ndarray, labels: np.ndarray, threshold: float, maps: np.ndarray, masks: np.ndarray
) -> dict[str, float]:
    """Return the accuracy columns of a row, 0..1, NaN where a measure is undefined: without defects or normals.

    ``image_ap`` and ``pixel_ap`` are step-wise average precisions (anomalib's AUPR, the same as scikit-learn's), not
    trapezoids; ``aupro`` is the per-region overlap up to a false positive rate of 0.3, ``aupro_05`` up to 0.05.

    Args:
        scores: (N,), larger is more anomalous, of any scale.
        labels: (N,) bool, whether an image has a defect.
        threshold: An image with a larger score counts as anomalous, as in anomalib; NaN leaves ``image_f1`` undefined.
        maps: (N, h, w), larger is more anomalous, of any scale.
        masks: (N, h, w) bool, defect pixels.

    Raises:
        ValueError: If the shapes do not fit, or a score or a map is not finite.
    """
    check(scores, labels, maps, masks)
    return image_accuracy(scores, labels, threshold) | pixel_accuracy(maps, masks)


def image_accuracy(scores: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    """Return the measures of the images."""
    within = unit(scores)
    return {
        "image_auroc": measured(AUROC(FIELDS), within, labels),
        "image_ap": measured(AUPR(FIELDS), within, labels),
        "image_f1": f1_above(scores, labels, threshold),
    }


def pixel_accuracy(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """Return the measures of the pixels and regions."""
    within = unit(maps)
    return {
        "pixel_auroc": measured(AUROC(FIELDS), within, masks),
        "pixel_ap": measured(AUPR(FIELDS), within, masks),
        "aupro": measured(AUPRO(fields=FIELDS, fpr_limit=0.3), within, masks),
        "aupro_05": measured(AUPRO(fields=FIELDS, fpr_limit=0.05), within, masks),
    }


def f1_above(values: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    """Return the F1 of what is above a threshold, NaN without one."""
    return UNDEFINED if np.isnan(threshold) else measured(F1Score(FIELDS), values > threshold, truth)


def measured(metric: AnomalibMetric, prediction: np.ndarray, truth: np.ndarray) -> float:
    """Return what a metric says of all images at once, NaN where all or none is a defect."""
    if truth.all() or not truth.any():
        return UNDEFINED
    batch: Any = SimpleNamespace(prediction=torch.from_numpy(prediction), truth=torch.from_numpy(truth).int())
    metric.update(batch)
    return float(metric.compute())


def unit(values: np.ndarray) -> np.ndarray:
    """Return values between 0 and 1 in the same order.

    torchmetrics takes anything else for logits, and its sigmoid makes all scores above 17 equal in float32.
    """
    low, high = float(values.min()), float(values.max())
    return (values.astype(np.float64) - low) / ((high - low) or 1.0)


def check(scores: np.ndarray, labels: np.ndarray, maps: np.ndarray, masks: np.ndarray) -> None:
    """Raise a `ValueError` if shapes do not fit or a value is not finite."""
    if scores.shape != labels.shape or maps.shape != masks.shape or len(scores) != len(maps):
        shapes = ", ".join(str(array.shape) for array in (scores, labels, maps, masks))
        msg = f"Scores, labels, maps and masks have shapes {shapes}, expected (N,), (N,), (N, h, w) and (N, h, w)."
        raise ValueError(msg)
    if not (np.isfinite(scores).all() and np.isfinite(maps).all()):
        msg = "Scores or maps are not all finite: look for a division by zero or a diverged training."
        raise ValueError(msg)
