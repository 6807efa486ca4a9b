"""Accuracy by closed forms, at any scale of the scores."""

import numpy as np
import pytest

from benchmarks.measures import accuracy

LABELS = np.array([True, True, False, False])
MASKS = np.zeros((4, 8, 8), dtype=bool)
MASKS[0, 1:4, 1:4] = MASKS[1, 5:7, 2:6] = True
SCORES = np.array([4.0, 2.0, 3.0, 1.0])


def measured(scores=SCORES, threshold=2.5, maps=None, labels=LABELS, masks=MASKS) -> dict[str, float]:
    """Accuracy of the made images, with perfect maps where none are given."""
    return accuracy(scores, labels, threshold, masks.astype(np.float32) if maps is None else maps, masks)


def test_a_perfect_map_has_all_measures_one() -> None:
    row = measured()
    assert [row[name] for name in ("pixel_auroc", "pixel_ap", "aupro", "aupro_05")] == pytest.approx([1] * 4)


def test_a_constant_map_is_chance() -> None:
    row = measured(maps=np.ones(MASKS.shape, dtype=np.float32))
    expected = [0.5, MASKS.mean(), 0.3 / 2, 0.05 / 2]
    assert [row[name] for name in ("pixel_auroc", "pixel_ap", "aupro", "aupro_05")] == pytest.approx(expected)


def test_image_measures_of_four_images_by_hand() -> None:
    row = measured()
    assert row["image_auroc"] == pytest.approx(3 / 4)  # of four pairs one is the wrong way round
    assert row["image_ap"] == pytest.approx((1 + 2 / 3) / 2)  # precision at the first and at the third image
    assert row["image_f1"] == pytest.approx(1 / 2)  # one hit, one false alarm, one miss


def test_the_threshold_itself_is_normal() -> None:
    assert measured(threshold=2.0)["image_f1"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))


@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0.0), (1.0, 1000.0), (500.0, -3000.0)])
def test_the_scale_of_scores_and_maps_is_of_no_account(factor: float, shift: float) -> None:
    maps = MASKS + np.random.default_rng(0).normal(size=MASKS.shape)
    row = measured(maps=maps)
    other = measured(factor * SCORES + shift, factor * 2.5 + shift, factor * maps + shift)
    assert list(other.values()) == pytest.approx(list(row.values()))


def test_without_defects_all_is_undefined() -> None:
    row = measured(labels=~LABELS & False, masks=MASKS & False)
    assert all(np.isnan(value) for value in row.values())


def test_without_a_threshold_only_f1_is_undefined() -> None:
    row = measured(threshold=float("nan"))
    assert [name for name, value in row.items() if np.isnan(value)] == ["image_f1"]


def test_what_is_not_finite_or_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="not all finite"):
        measured(scores=SCORES * np.inf)
    with pytest.raises(ValueError, match=r"\(4, 4, 4\)"):
        measured(maps=np.zeros((4, 4, 4)))
