"""Crops: their band, their determinism, and the photographs' place in scikit-image's wheel."""

import numpy as np
import pytest

from anomalib_stc.data import photographs
from anomalib_stc.data.photographs import BANDS, CATEGORIES, MAX_CROP, MIN_CROP, crop, load_photograph


@pytest.mark.parametrize("category", CATEGORIES)
def test_photographs_are_in_the_wheel(category: str) -> None:
    photograph = load_photograph(category)
    assert photograph.shape == (512, 512)
    assert photograph.dtype == np.uint8


def test_missing_photograph_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(photographs, "files", lambda _: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no picture .*brick\.png: install it from its wheel"):
        load_photograph("brick")


def test_bands_are_disjoint_and_wide_enough() -> None:
    columns = [column for first, end in BANDS.values() for column in range(first, end)]
    assert sorted(columns) == list(range(512))
    assert min(end - first for first, end in BANDS.values()) == MAX_CROP


@pytest.mark.parametrize("part", BANDS)
@pytest.mark.parametrize("side", [MIN_CROP, 130, MAX_CROP])
def test_crop_stays_in_its_band(monkeypatch: pytest.MonkeyPatch, part: str, side: int) -> None:
    columns = np.broadcast_to(np.arange(512), (512, 512))
    monkeypatch.setattr(photographs, "load_photograph", lambda _: columns)
    random = np.random.default_rng(0)
    first, end = BANDS[part]
    for _ in range(200):
        square = crop("brick", part, side, random)
        assert square.shape == (side, side)
        assert first <= square.min()
        assert square.max() < end


def test_half_of_the_crops_are_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.broadcast_to(np.arange(512), (512, 512))
    monkeypatch.setattr(photographs, "load_photograph", lambda _: columns)
    random = np.random.default_rng(0)
    squares = [crop("brick", "train", 64, random) for _ in range(200)]
    mirrored = sum(square[0, 0] > square[0, -1] for square in squares)
    assert 70 <= mirrored <= 130  # 100 +- four standard deviations
