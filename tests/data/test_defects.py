"""Planted defects: nothing changes outside the mask, every one is visible, and a seed gives the same one."""

import numpy as np
import pytest
import torch

from anomalib_stc.data import defects
from anomalib_stc.data.defects import AREA, PLANTS, Planted, plant
from anomalib_stc.data.photographs import CATEGORIES, crop

SIDE = 96


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("kind", PLANTS)
class TestPlant:
    def test_only_the_mask_changes(self, kind: str, category: str) -> None:
        for seed in range(3):
            before = crop(category, "test", SIDE, np.random.default_rng(seed))
            after = PLANTS[kind](before, category, np.random.default_rng(seed))
            assert np.array_equal(after.image[~after.mask], before[~after.mask])

    def test_size_and_type(self, kind: str, category: str) -> None:
        image, mask = plant(kind, category, SIDE, np.random.default_rng(1))
        assert image.shape == mask.shape == (SIDE, SIDE)
        assert image.dtype == np.uint8
        assert AREA[0] <= mask.mean() <= AREA[1]

    def test_deterministic_and_torch_untouched(self, kind: str, category: str) -> None:
        state = torch.get_rng_state()
        first, second = (plant(kind, category, SIDE, np.random.default_rng(2)) for _ in range(2))
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.mask, second.mask)
        assert torch.equal(torch.get_rng_state(), state)


def test_contrast_of_a_known_defect() -> None:
    image = np.tile(np.array([90, 110], dtype=np.uint8), (8, 4))  # deviation 10
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:4, 2:4] = True
    planted = Planted(np.where(mask, image + 25, image).astype(np.uint8), mask)
    assert defects._contrast(image, planted) == pytest.approx(2.5)


def test_invisible_defects_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[:10, :10] = True
    monkeypatch.setitem(PLANTS, "nothing", lambda image, *_: Planted(image, mask))
    with pytest.raises(RuntimeError, match=r"No visible nothing defect .* take another seed\."):
        plant("nothing", "brick", SIDE, np.random.default_rng(0))


def test_largest_blob() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, 0] = mask[3:5, 3:5] = True
    blob = defects._largest_blob(mask)
    assert blob.sum() == 4
    assert blob[3:5, 3:5].all()
