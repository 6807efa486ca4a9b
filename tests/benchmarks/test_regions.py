"""Histograms of regions give what anomalib gives from all pixels, and what a bootstrap needs."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.measures import pixel_accuracy
from benchmarks.regions import Regions, aupro, pixel_ap, pixel_auroc


def smooth(gain: float, share: float = 0.03, images: int = 12, side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Smooth random maps that see smooth random defects, in half of the images, as well as the gain lets them."""
    random = np.random.default_rng(3)
    ground, defects = (gaussian_filter(random.normal(size=(images, side, side)), (0, 3, 3)) for _ in range(2))
    masks = defects > np.quantile(defects, 1 - share)
    masks[: images // 2] = False
    maps = ground / ground.std() + gain * gaussian_filter(masks.astype(float), (0, 2, 2))
    return maps.astype(np.float32), masks


def figures(regions: Regions, weights: np.ndarray | None = None) -> list[float]:
    """The four measures."""
    measures = (pixel_auroc(regions, weights), pixel_ap(regions, weights), *both_aupro(regions, weights))
    return [float(measure) for measure in measures]


def both_aupro(regions: Regions, weights: np.ndarray | None = None) -> list[np.ndarray]:
    """AUPRO up to 0.3 and to 0.05."""
    return [aupro(regions, limit, weights) for limit in (0.3, 0.05)]


@pytest.mark.parametrize("share", [0.03, 0.0005])
@pytest.mark.parametrize("gain", [0.0, 2.0, 6.0])
def test_smooth_maps_measure_as_with_anomalib(gain: float, share: float) -> None:
    maps, masks = smooth(gain, share)
    assert figures(Regions.of(maps, masks)) == pytest.approx(list(pixel_accuracy(maps, masks).values()), abs=1e-3)


@pytest.mark.parametrize("levels", [2, 20, 255])
def test_maps_of_few_levels_measure_as_with_anomalib(levels: int) -> None:
    maps, masks = smooth(2.0)
    maps = np.round(np.clip(maps, 0, None) * levels / maps.max())
    expected = pixel_accuracy(maps, masks)
    assert figures(Regions.of(maps, masks))[2:] == pytest.approx([expected["aupro"], expected["aupro_05"]], abs=1e-3)


def test_a_perfect_map_is_one() -> None:
    _, masks = smooth(0.0)
    assert figures(Regions.of(masks.astype(np.float32), masks)) == pytest.approx([1, 1, 1, 1])


def test_a_constant_map_is_chance() -> None:
    _, masks = smooth(0.0)
    regions = Regions.of(np.full(masks.shape, 7.0), masks)
    assert figures(regions) == pytest.approx([0.5, masks.mean(), 0.15, 0.025], abs=1e-4)


def test_two_images_by_hand() -> None:
    maps = np.array([[[3, 1, 0, 0]], [[2, 0, 2, 0]]], dtype=np.float32)
    masks = np.array([[[1, 1, 0, 0]], [[1, 0, 0, 0]]], dtype=bool)
    # Above 2, (rate, overlap) is (0, 1/4); from 2 on (1/5, 3/4); from 1 on (1/5, 1); from 0 on (1, 1).
    assert float(aupro(Regions.of(maps, masks), 0.2)) == pytest.approx((1 / 4 + 3 / 4) / 2)
    assert float(aupro(Regions.of(maps, masks), 1.0)) == pytest.approx(1 / 5 * 1 / 2 + 4 / 5)


def test_corners_connect_and_a_region_counts_as_one() -> None:
    masks = np.array([[[1, 0, 0, 0], [0, 1, 0, 1]], [[0, 0, 0, 0], [1, 0, 0, 0]]], dtype=bool)
    regions = Regions.of(np.zeros(masks.shape), masks)
    assert regions.region_image.tolist() == [0, 0, 1]
    assert regions.region.sum(axis=1) == pytest.approx([1, 1, 1])
    assert regions.defect.sum(axis=1).tolist() == [3, 1]
    assert regions.normal.sum(axis=1).tolist() == [5, 7]


def test_a_weight_is_a_repetition() -> None:
    maps, masks = smooth(2.0)
    weights = np.array([1, 2, 0, 1, 1, 1, 3, 0, 1, 2, 1, 1])
    repeated = Regions.of(np.repeat(maps, weights, axis=0), np.repeat(masks, weights, axis=0))
    assert figures(Regions.of(maps, masks), weights) == pytest.approx(figures(repeated), abs=1e-3)


def test_many_draws_at_once_are_each_alone() -> None:
    regions = Regions.of(*smooth(2.0))
    weights = np.random.default_rng(0).multinomial(12, [1 / 12] * 12, size=(2, 3))
    expected = [[float(aupro(regions, 0.3, draw)) for draw in row] for row in weights]
    assert aupro(regions, 0.3, weights) == pytest.approx(np.array(expected))


def test_draws_without_a_defect_are_undefined() -> None:
    regions = Regions.of(*smooth(2.0))
    assert np.isnan(figures(regions, np.arange(12) < 6)).all()


def test_saved_regions_come_back(tmp_path: Path) -> None:
    regions = Regions.of(*smooth(2.0))
    regions.save(tmp_path / "regions.npz")
    loaded = Regions.load(tmp_path / "regions.npz")
    assert all((one == other).all() for one, other in zip(regions, loaded, strict=True))
    assert [array.dtype.name for array in loaded] == ["int64", "int64", "float64", "int64"]


@pytest.mark.parametrize(
    ("maps", "masks", "cause"),
    [
        (np.zeros((1, 4, 4)), np.zeros((1, 8, 8), dtype=bool), "resize one"),
        (np.full((1, 4, 4), np.nan), np.zeros((1, 4, 4), dtype=bool), "not all finite"),
        (np.zeros((1, 4, 4)), np.ones((1, 4, 4), dtype=bool), "Every pixel"),
    ],
)
def test_a_mistake_is_one_sentence(maps: np.ndarray, masks: np.ndarray, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        Regions.of(maps, masks)
