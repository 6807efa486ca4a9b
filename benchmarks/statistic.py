"""The bar that needs no learning: the statistic of the pixels that happens to fit the test images best."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.measures import image_accuracy
from benchmarks.regions import Regions, aupro

BLURS = (1 / 256, 1 / 64, 1 / 32)  # Gaussians' deviations over the shorter side: pores, PaDiM's own blur, shadows
SUMMARIES = (np.mean, np.std, np.min, np.max)
NO_THRESHOLD = float("nan")


def statistic(
    train: Sequence[np.ndarray] | np.ndarray,
    test: Sequence[np.ndarray] | np.ndarray,
    labels: np.ndarray,
    masks: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (N,) and maps (N, h, w) of the best statistics, as z-scores by the training images.

    The best is chosen in hindsight ON THE TEST LABELS, score by image AUROC and map by AUPRO, either sign: it is no
    method but a bar that shows how easy a set is. What learns should be above it.

    Args:
        train: Normal images (h, w, 3) in 0..1.
        test: N images of the same size.
        labels: (N,) bool, whether a test image has a defect.
        masks: (N, h, w) bool, defect pixels.

    Raises:
        ValueError: If there is no training image or the images differ in size.
    """
    check(train, test)
    mean = np.mean(train, axis=0)
    pairs = list(zip(planes(train, mean), planes(test, mean), strict=True))
    scores = max(candidate_scores(pairs), key=lambda each: ranking(each, labels))
    return scores, max(candidate_maps(pairs), key=lambda each: overlap(each, masks))


def planes(images: Sequence[np.ndarray] | np.ndarray, mean: np.ndarray) -> list[np.ndarray]:
    """Return brightness, and signed and absolute difference from the mean training image, each (N, h, w)."""
    stack = np.asarray(images, dtype=np.float32)
    residual = stack - mean.astype(np.float32)
    return [plane.mean(axis=-1) for plane in (stack, residual, np.abs(residual))]


def candidate_scores(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield mean, deviation, darkest and brightest pixel of every blurred plane: (N,) each, either sign."""
    for (normal, tested), summary in product(blurred(pairs), SUMMARIES):
        yield from both_signs(z_scores(summary(tested, axis=(1, 2)), summary(normal, axis=(1, 2))))


def candidate_maps(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield every blurred plane: (N, h, w) each, either sign."""
    for normal, tested in blurred(pairs):
        yield from both_signs(z_scores(tested, normal))


def blurred(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the planes of training and test images with every blur."""
    for (normal, tested), blur in product(pairs, BLURS):
        deviation = blur * min(tested.shape[1:])
        yield gaussian_filter(normal, (0, deviation, deviation)), gaussian_filter(tested, (0, deviation, deviation))


def z_scores(values: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return values in deviations from the mean of normal ones, undivided where these are all the same."""
    return (values - normal.mean()) / (normal.std() or 1.0)


def both_signs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values and their negatives: a defect may be darker, or have less of something."""
    return values, -values


def ranking(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the image AUROC, 0 where it is undefined."""
    return float(np.nan_to_num(image_accuracy(scores, labels, NO_THRESHOLD)["image_auroc"]))


def overlap(maps: np.ndarray, masks: np.ndarray) -> float:
    """Return the AUPRO up to a false positive rate of 0.3, 0 where it is undefined."""
    return float(np.nan_to_num(aupro(Regions.of(maps, masks), 0.3)))


def check(train: Sequence[np.ndarray] | np.ndarray, test: Sequence[np.ndarray] | np.ndarray) -> None:
    """Raise a `ValueError` if there is no training image or the images differ in size."""
    if not len(train):
        msg = "There is no training image to compare with: add normal images."
        raise ValueError(msg)
    shapes = {image.shape for image in (*train, *test)}
    if len(shapes) > 1:
        msg = f"Training and test images have the shapes {sorted(shapes)}, expected one: resize them first."
        raise ValueError(msg)
