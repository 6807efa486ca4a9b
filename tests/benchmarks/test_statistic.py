"""The statistics find what is plain to see, whichever sign it has."""

import numpy as np
import pytest

from benchmarks.measures import accuracy
from benchmarks.statistic import statistic

SIDE = 64
LABELS = np.arange(10) < 5
MASKS = np.zeros((10, SIDE, SIDE), dtype=bool)
MASKS[LABELS, 20:36, 30:46] = True


def noise(images: int, seed: int) -> np.ndarray:
    """Grey images (N, h, w, 3) with faint noise."""
    return 0.5 + np.random.default_rng(seed).normal(0, 0.02, (images, SIDE, SIDE, 1)).repeat(3, axis=-1)


def found(test: np.ndarray, train: np.ndarray | None = None) -> dict[str, float]:
    """Accuracy of the statistic."""
    scores, maps = statistic(list(noise(8, 1) if train is None else train), list(test), LABELS, MASKS)
    assert scores.shape == LABELS.shape
    assert maps.shape == MASKS.shape
    return accuracy(scores, LABELS, float("nan"), maps, MASKS)


@pytest.mark.parametrize("change", [0.3, -0.3])
def test_a_bright_or_a_dark_square_is_found(change: float) -> None:
    row = found(noise(10, 2) + change * MASKS[..., None])
    assert row["image_auroc"] == 1
    assert row["aupro"] > 0.95


def test_what_differs_from_the_mean_image_is_found_where_brightness_is_of_no_use() -> None:
    stripes = 0.4 * np.sin(np.arange(SIDE) / 4)[:, None, None]
    train, test = noise(8, 1) + stripes, noise(10, 2) + stripes
    test = np.where(MASKS[..., None], 0.5, test)
    assert found(test, train)["aupro"] > 0.6


def test_a_smoother_image_is_found() -> None:
    test = noise(10, 2)
    test[LABELS] = 0.5 + 0.2 * (test[LABELS] - 0.5)
    assert found(test)["image_auroc"] == 1


def test_values_are_deviations_of_the_training_images() -> None:
    train = noise(40, 3)
    scores, maps = statistic(list(train), list(train[:10]), LABELS, MASKS)
    assert abs(scores.mean()) < 2
    assert abs(maps.mean()) < 1
    assert 0.5 < maps.std() < 2


def test_identical_training_images_leave_scores_finite() -> None:
    scores, maps = statistic([np.full((SIDE, SIDE, 3), 0.5)] * 3, list(noise(10, 2)), LABELS, MASKS)
    assert np.isfinite(scores).all()
    assert np.isfinite(maps).all()


def test_without_defects_there_is_still_a_statistic() -> None:
    scores, maps = statistic(list(noise(4, 1)), list(noise(10, 2)), LABELS & False, MASKS & False)
    assert np.isfinite(scores).all()
    assert np.isfinite(maps).all()


def test_a_mistake_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="no training image"):
        statistic([], list(noise(10, 2)), LABELS, MASKS)
    with pytest.raises(ValueError, match="expected one: resize"):
        statistic([np.zeros((8, 8, 3))], list(noise(10, 2)), LABELS, MASKS)
